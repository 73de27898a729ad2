package executor

import (
	"fmt"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
)

const sshdConfig = "/etc/ssh/sshd_config"

// sshdSettings are the settings that hold for everybody: what stands behind Match is left out. Keys are in lower case.
type sshdSettings map[string][]string

func (c sshdSettings) is(key, value string) bool {
	return len(c[key]) > 0 && strings.EqualFold(c[key][0], value)
}

// lists are the settings of which every line counts; of the others the first does.
var lists = []string{"port", "listenaddress", "allowusers", "denyusers", "allowgroups", "denygroups"}

// sshdSettings reads sshd's configuration, with another text in the place of one file: nil is as it is.
func (w *wayIn) sshdSettings(file string, text *string) sshdSettings {
	c := sshdSettings{}
	w.readSSHD(c, sshdConfig, file, text, 0)
	return c
}

func (w *wayIn) readSSHD(c sshdSettings, name, file string, text *string, depth int) {
	content := ""
	if text != nil && name == file {
		content = *text
	} else if b, err := w.h.ReadFile(name); err == nil {
		content = string(b)
	}
	for line := range strings.Lines(content) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\r\n=\"", r) })
		if len(f) < 2 {
			continue
		}
		switch key := strings.ToLower(f[0]); {
		case key == "match":
			return
		case key == "include" && depth < 8:
			for _, pattern := range f[1:] {
				if !path.IsAbs(pattern) {
					pattern = path.Join("/etc/ssh", pattern)
				}
				for _, n := range w.glob(pattern, file, text) {
					w.readSSHD(c, n, file, text, depth+1)
				}
			}
		case slices.Contains(lists, key):
			c[key] = append(c[key], f[1:]...)
		case c[key] == nil:
			c[key] = f[1:]
		}
	}
}

// glob finds the files of an Include, the one that is still to come among them.
func (w *wayIn) glob(pattern, file string, text *string) []string {
	dir := path.Dir(pattern)
	names, _ := w.h.ReadDir(dir)
	if text != nil && path.Dir(file) == dir && !slices.Contains(names, path.Base(file)) {
		names = append(names, path.Base(file))
	}
	slices.Sort(names)
	var out []string
	for _, n := range names {
		if ok, _ := path.Match(path.Base(pattern), n); ok {
			out = append(out, path.Join(dir, n))
		}
	}
	return out
}

// sshd is about a file of sshd's configuration that is to be changed.
func (w *wayIn) sshd(p string) string {
	old, _ := w.h.ReadFile(p)
	text, ok := w.text(p, string(old))
	if !ok || w.refuses(w.sshdSettings("", nil)) != "" { // then we don't understand it
		return ""
	}
	return w.refuses(w.sshdSettings(p, &text))
}

// refuses is why sshd wouldn't let the login in, or "".
func (w *wayIn) refuses(c sshdSettings) string {
	ports, listens := c["port"], len(c["listenaddress"]) == 0
	if len(ports) == 0 {
		ports = []string{"22"}
	}
	onPort := slices.Contains(ports, strconv.Itoa(w.Port))
	for _, a := range c["listenaddress"] {
		address, port, err := net.SplitHostPort(a)
		if err != nil {
			address, port = strings.Trim(a, "[]"), ""
		}
		ip := net.ParseIP(address)
		if (ip == nil || ip.IsUnspecified() || ip.Equal(net.ParseIP(w.Address))) && (port == strconv.Itoa(w.Port) || port == "" && onPort) {
			listens, onPort = true, true
		}
	}
	in := func(key string, names []string) bool {
		return slices.ContainsFunc(c[key], func(pattern string) bool {
			pattern, _, _ = strings.Cut(pattern, "@")
			return slices.ContainsFunc(names, func(n string) bool {
				ok, err := path.Match(strings.TrimPrefix(pattern, "!"), n)
				return ok && err == nil && !strings.HasPrefix(pattern, "!")
			})
		})
	}
	me, method := []string{w.User}, w.how().method
	switch {
	case !onPort:
		return fmt.Sprintf("sshd would no longer listen on port %d", w.Port)
	case !listens:
		return fmt.Sprintf("sshd would no longer listen on %s", w.Address)
	case in("denyusers", me):
		return "DenyUsers would name it"
	case c["allowusers"] != nil && !in("allowusers", me):
		return "AllowUsers would not name it"
	case c["denygroups"] != nil && in("denygroups", w.groups()):
		return "DenyGroups would name a group of it"
	case c["allowgroups"] != nil && !in("allowgroups", w.groups()):
		return "AllowGroups would name no group of it"
	case w.User == "root" && (c.is("permitrootlogin", "no") || c.is("permitrootlogin", "forced-commands-only")):
		return "PermitRootLogin would be " + c["permitrootlogin"][0]
	case w.User == "root" && method == "password" && c["permitrootlogin"] != nil && !c.is("permitrootlogin", "yes"):
		return "PermitRootLogin would be " + c["permitrootlogin"][0] + ", and it logs in by password"
	case method == "password" && c.is("passwordauthentication", "no"):
		return "PasswordAuthentication would be no, and it logs in by password"
	case strings.HasPrefix(method, "keyboard-interactive") && (c.is("kbdinteractiveauthentication", "no") || c.is("challengeresponseauthentication", "no")):
		return "KbdInteractiveAuthentication would be no, and it logs in so"
	case method == "publickey" && c.is("pubkeyauthentication", "no"):
		return "PubkeyAuthentication would be no, and it logs in by key"
	}
	return ""
}

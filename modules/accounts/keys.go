package accounts

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// key is a line of authorized_keys (sshd(8)). The comment behind it says nothing and is left out.
type key struct{ options, kind, data string }

// parseKey reads a line: options, which may hold spaces in quotes, then the key's type and the key in base64. A key that is
// shortened by dots, as examples have it, is taken as it stands; sshd passes over it.
func parseKey(s string) (key, bool) {
	s = strings.TrimSpace(s)
	if s == "" || s[0] == '#' {
		return key{}, false
	}
	first, rest := word(s)
	var k key
	if !isKeyType(first) {
		k.options = first
		first, rest = word(rest)
	}
	k.kind = first
	k.data, _ = word(rest)
	if strings.HasPrefix(k.data, "AAAA") && strings.HasSuffix(k.data, "...") {
		return k, isKeyType(k.kind)
	}
	blob, err := base64.StdEncoding.DecodeString(k.data)
	return k, err == nil && len(blob) > 8 && isKeyType(k.kind)
}

func isKeyType(s string) bool {
	return strings.HasPrefix(s, "ssh-") || strings.HasPrefix(s, "ecdsa-sha2-") || strings.HasPrefix(s, "sk-")
}

// word splits s at the first blank that isn't in quotes.
func word(s string) (first, rest string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case (s[i] == ' ' || s[i] == '\t') && !quoted:
			return s[:i], strings.TrimLeft(s[i:], " \t")
		}
	}
	return s, ""
}

// mergeKeys brings the text of authorized_keys to keys and returns it unchanged where it is so already. Comments and
// lines that nobody understands stay; a key with other options than declared is replaced.
func mergeKeys(text string, keys []string, exact bool) string {
	var wanted []key
	var lines []string // of wanted
	for _, s := range keys {
		if k, ok := parseKey(s); ok && !slices.Contains(wanted, k) {
			wanted, lines = append(wanted, k), append(lines, strings.TrimSpace(s))
		}
	}
	var out strings.Builder
	there := make([]bool, len(wanted))
	for l := range strings.Lines(text) {
		k, ok := parseKey(l)
		if !ok {
			out.WriteString(l)
			continue
		}
		if i := slices.Index(wanted, k); i >= 0 {
			out.WriteString(l)
			there[i] = true
			continue
		}
		same := func(w key) bool { return w.kind == k.kind && w.data == k.data }
		if !exact && !slices.ContainsFunc(wanted, same) {
			out.WriteString(l)
		}
	}
	for i, l := range lines {
		if there[i] {
			continue
		}
		if s := out.String(); s != "" && !strings.HasSuffix(s, "\n") {
			out.WriteString("\n")
		}
		out.WriteString(l + "\n")
	}
	return out.String()
}

const sshFolder, keysFile = ".ssh", "authorized_keys"

// openSSH opens ~/.ssh of an entry. A missing one is fs.ErrNotExist.
func openSSH(h *host.Host, e []string) (home, ssh *host.Folder, err error) {
	home, err = h.OpenFolder(e[pwHome])
	if err != nil {
		return nil, nil, err
	}
	ssh, err = home.Folder(sshFolder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		home.Close()
		return nil, nil, hint.New(err, "replace it by a real folder: as root, fitout follows no link in a user's home")
	}
	return home, ssh, err
}

// readKeys lists the keys of a user as they stand in the file, comments left out.
func readKeys(h *host.Host, e []string) ([]string, error) {
	keys := []string{}
	home, ssh, err := openSSH(h, e)
	if home != nil {
		defer home.Close()
	}
	if errors.Is(err, fs.ErrNotExist) {
		return keys, nil
	}
	if err != nil {
		return nil, err
	}
	defer ssh.Close()
	b, err := ssh.ReadFile(keysFile)
	if errors.Is(err, fs.ErrNotExist) {
		return keys, nil
	}
	for l := range strings.Lines(string(b)) {
		if _, ok := parseKey(l); ok {
			keys = append(keys, strings.TrimSpace(l))
		}
	}
	return keys, err
}

// writeKeys brings ~/.ssh/authorized_keys to want.
func writeKeys(h *host.Host, e []string, want User) error {
	uid, _ := strconv.Atoi(e[pwUID])
	gid, _ := strconv.Atoi(e[pwGID])
	home, ssh, err := openSSH(h, e)
	if home == nil {
		if errors.Is(err, fs.ErrNotExist) {
			if len(want.SSHKeys) == 0 {
				return nil
			}
			err = hint.New(fmt.Errorf("the home %s of %s, for its SSH keys, is missing", e[pwHome], e[0]), "declare home and createHome: true, or the folder under directories")
		}
		return err
	}
	defer home.Close()
	at, err2 := home.Lstat(".")
	if err2 != nil {
		return err2
	}
	attr := host.Attr{UID: &uid, GID: &gid}
	if h.Living() && at.UID != uid && at.UID != 0 {
		return hint.New(fmt.Errorf("the home %s of %s belongs to %s", e[pwHome], e[0], h.UserName(at.UID)), "declare the folder under directories with owner: %s", e[0])
	}
	if !h.Living() && at.UID != uid { // a root folder that isn't ours to give away
		attr = host.Attr{UID: &at.UID, GID: &at.GID}
	}
	if ssh == nil {
		if len(want.SSHKeys) == 0 {
			return nil
		}
		if err := home.Mkdir(sshFolder, attr); err != nil {
			return err
		}
		if ssh, err = home.Folder(sshFolder); err != nil {
			return err
		}
	}
	defer ssh.Close()
	text, err := ssh.ReadFile(keysFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	merged := mergeKeys(string(text), want.SSHKeys, want.SSHKeysExact)
	var was *Keys
	if want.Record != nil {
		was = want.Record.Keys
	}
	if was != nil {
		if merged = was.spelled(merged); merged == "" && !was.File {
			return was.unmake(h, home, ssh)
		}
	}
	if merged == string(text) {
		return nil
	}
	if i, err := ssh.Lstat(keysFile); err == nil {
		attr.Mode = modules.Ptr(i.Mode &^ 0o022) // others' writing would make sshd refuse the file
	}
	if was != nil && was.File {
		attr.Mode = &was.Mode
	}
	return ssh.Write(keysFile, merged, attr)
}

package executor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// A resource that would shut out the very login that fitout works by is an error, and isn't applied, as far as that can be known
// cheaply. An entry with a "connect" may: it is tried, and taken back where it doesn't hold. What only the next start of sshd
// or of the machine would bring counts as well. Who came in over no ssh can't lock themselves out so.

type loginKey struct{}

// withLogin says whose way in must not be closed by what is observed, and then applied, under ctx.
func withLogin(ctx context.Context, l *login) context.Context {
	if l != nil && l.known == nil {
		own := *l
		own.known = &once{}
		l = &own
	}
	return context.WithValue(ctx, loginKey{}, l)
}

// proof is how a login was let in.
type proof struct {
	method string // publickey, password, keyboard-interactive/pam; "": not known
	key    string // SHA256:...
}

// fields are what matters of all types.
type fields struct {
	Name, Path, Match                           string
	Shell, Password, Expires, Mode, Owner, Line *string
	Locked, Running, Masked                     *bool
	Groups, SSHKeys                             []string
	GroupsExact, SSHKeysExact                   bool
	Content                                     *host.Blob
}

// guard turns a planned change that locks us out into an error.
func guard(ctx context.Context, h *host.Host, items []*item, out []*found) {
	l, _ := ctx.Value(loginKey{}).(*login) // nil: nobody's
	if l == nil {
		return
	}
	for i, it := range items {
		f := out[i]
		if f.err != nil || len(it.Connect) > 0 || f.op == modules.Same || f.op == modules.Skip || f.op == modules.Unknown {
			continue
		}
		var want, have fields
		b, err := json.Marshal(f.have)
		if err != nil || json.Unmarshal(it.Want, &want) != nil || json.Unmarshal(b, &have) != nil {
			continue
		}
		w := &wayIn{login: l, ctx: ctx, h: h, it: it, f: f, want: want, have: have}
		if why := w.closed(); why != "" {
			f.err = hint.New(fmt.Errorf("this would lock fitout out, which logs in as %s: %s", l.User, why),
				"if it is meant, say under connect how the device is reached afterwards: then it is tried, and taken back if it doesn't work")
		}
	}
}

// wayIn is a login and a resource that may close it.
type wayIn struct {
	*login
	ctx        context.Context
	h          *host.Host
	it         *item
	f          *found
	want, have fields
}

func (w *wayIn) gone() bool { return w.f.op == modules.Delete }

func (w *wayIn) changes(property string) bool {
	return slices.ContainsFunc(w.f.changes, func(c modules.Change) bool { return c.Property == property })
}

// closed is why the way in would be closed, or "".
func (w *wayIn) closed() string {
	switch w.it.Type {
	case "users":
		if w.want.Name == w.User {
			return w.user()
		}
	case "groups":
		if w.gone() && w.Elevated && slices.Contains(sudoers, w.want.Name) && slices.Contains(w.groups(), w.want.Name) {
			return "group " + w.want.Name + " lets it become root"
		}
	case "services":
		return w.service()
	case "packages":
		name, _, _ := strings.Cut(w.want.Name, ":")
		switch {
		case !w.gone():
		case w.Server == "sshd" && name == "openssh-server", w.Server == "dropbear" && slices.Contains([]string{"dropbear", "dropbear-bin"}, name):
			return "package " + name + " is what it comes in by"
		case w.Elevated && name == "sudo":
			return "it becomes root by sudo"
		}
	case "directories", "files", "lines", "links":
		return w.file(path.Clean(w.want.Path))
	}
	return ""
}

// sudoers are the groups that usually may do everything by sudo.
var sudoers = []string{"sudo", "wheel", "admin"}

func (w *wayIn) user() string {
	set := func(b *bool) bool { return b != nil && *b }
	switch {
	case w.gone():
		return "the user would be removed"
	case w.changes("shell") && slices.Contains([]string{"nologin", "false", "true"}, path.Base(*w.want.Shell)):
		return "its shell would be " + *w.want.Shell
	case w.changes("locked") && set(w.want.Locked) && w.how().method != "publickey":
		return "its password would be locked"
	case w.changes("locked") && set(w.want.Locked) && w.Elevated && !w.sudoWithoutPassword():
		return "its password would be locked, which sudo asks for"
	case w.changes("password") && strings.HasPrefix(w.how().method, "password"):
		return "its password would be another one"
	case w.changes("expires") && w.want.Expires != nil && *w.want.Expires <= time.Now().UTC().Format(time.DateOnly):
		return "the account would expire on " + *w.want.Expires
	case w.changes("groups") && w.Elevated && w.want.GroupsExact:
		for _, g := range sudoers {
			if slices.Contains(w.have.Groups, g) && !slices.Contains(w.want.Groups, g) {
				return "it would no longer be in group " + g + ", which lets it become root"
			}
		}
	case w.changes("sshKeys") && w.want.SSHKeysExact && !w.mayUsePassword():
		return w.withoutKey(w.have.SSHKeys, w.want.SSHKeys)
	}
	return ""
}

// withoutKey is about the keys of the login from now on: is the one in use among them, or if that isn't known, any that was?
func (w *wayIn) withoutKey(old, now []string) string {
	left := func(lines []string) map[string]bool {
		out := map[string]bool{}
		for _, l := range lines {
			if k := fingerprint(l); k != "" {
				out[k] = true
			}
		}
		return out
	}
	next := left(now)
	switch how := w.how(); {
	case how.method == "publickey" && how.key != "":
		if !next[how.key] {
			return "the key that it logs in with, " + how.key + ", would no longer be accepted"
		}
	case how.method == "" || how.method == "publickey":
		before := left(old)
		for k := range before {
			if next[k] {
				return ""
			}
		}
		if len(before) > 0 {
			return "none of the keys that it can log in with now would be left"
		}
	}
	return ""
}

// fingerprint is that of the key in a line of authorized_keys, or "".
func fingerprint(line string) string {
	for _, f := range strings.Fields(line) {
		if b, err := base64.StdEncoding.DecodeString(f); err == nil && len(b) > 20 && bytes.HasPrefix(b, []byte{0, 0, 0}) {
			sum := sha256.Sum256(b)
			return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
		}
	}
	return ""
}

func (w *wayIn) service() string {
	name, _, _ := strings.Cut(w.want.Name, ".service")
	mine := []string{"ssh", "sshd", "ssh.socket", "sshd.socket"}
	if w.Server == "dropbear" {
		mine = []string{"dropbear", "dropbear.socket"}
	}
	switch {
	case !slices.Contains(mine, name):
	case w.changes("masked") && w.want.Masked != nil && *w.want.Masked:
		return "the service that it comes in by would be masked"
	case w.changes("running") && w.want.Running != nil && !*w.want.Running:
		return "the service that it comes in by would be stopped"
	}
	return ""
}

func (w *wayIn) file(p string) string {
	keys := path.Join(w.Home, ".ssh/authorized_keys")
	byKey := w.Home != "" && w.Server != "" && (within(p, keys) || within(keys, p))
	switch {
	case w.gone() && w.it.Type != "lines" && within("/etc/ssh", p) && w.Server == "sshd":
		return p + " holds what sshd goes by"
	case p == "/etc/nologin" && !w.gone() && w.User != "root":
		return "where /etc/nologin is, only root may log in"
	case w.gone() && w.it.Type != "lines" && w.Elevated && (p == "/etc/sudoers" || p == "/etc/sudoers.d"):
		return "it becomes root by sudo, which goes by " + p
	case w.Server == "sshd" && (p == sshdConfig || within(p, sshdConfig+".d")):
		return w.sshd(p)
	case byKey && within(keys, p) && !w.mayUsePassword():
		return w.keyFile(p, keys)
	}
	return ""
}

// within says whether p is dir or below it.
func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

// keyFile is about the file with the login's keys, and the folders above it.
func (w *wayIn) keyFile(p, keys string) string {
	if w.how().method != "publickey" && w.how().method != "" {
		return ""
	}
	switch {
	case w.it.Type == "lines" || w.it.Type == "files" && p == keys:
		old, err := w.h.ReadFile(keys)
		if err != nil {
			return ""
		}
		if now, ok := w.text(p, string(old)); ok {
			return w.withoutKey(strings.Split(string(old), "\n"), strings.Split(now, "\n"))
		}
	case w.gone():
		return "its keys are in " + keys
	}
	if mode, err := strconv.ParseUint(value(w.want.Mode), 8, 32); w.changes("mode") && err == nil && mode&0o022 != 0 && within(p, w.Home) {
		return fmt.Sprintf("sshd takes no keys from %s when others may write to %s", keys, p)
	}
	if owner := value(w.want.Owner); w.changes("owner") && owner != w.User && owner != "root" && within(p, w.Home) {
		return fmt.Sprintf("sshd takes no keys from %s when %s belongs to %s", keys, p, owner)
	}
	return ""
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// text is what a file will hold; ok is false where that isn't known before it is there.
func (w *wayIn) text(p, old string) (now string, ok bool) {
	switch {
	case w.it.Type == "lines":
		return w.lines(old)
	case w.it.Type != "files":
		return "", false
	case w.gone():
		return "", true
	case w.want.Content == nil || !w.changes("content") && w.f.op != modules.Create || w.want.Content.Size > 1<<20:
		return old, w.want.Content == nil || w.want.Content.Size <= 1<<20
	}
	r, err := w.h.OpenBlob(*w.want.Content)
	if err != nil { // at plan time, before it has come
		return "", false
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, 1<<20))
	return string(b), err == nil
}

// lines is a text with a line put in or taken out, as far as it matters here.
func (w *wayIn) lines(old string) (string, bool) {
	match, err := regexp.Compile(w.want.Match)
	if err != nil {
		return "", false
	}
	var out []string
	put := w.gone() || w.want.Line == nil
	for _, l := range strings.Split(strings.TrimSuffix(old, "\n"), "\n") {
		hit := w.want.Match != "" && match.MatchString(l)
		switch {
		case w.gone():
			if !hit && !(w.want.Line != nil && l == *w.want.Line) {
				out = append(out, l)
			}
		case hit && !put:
			out, put = append(out, *w.want.Line), true
		default:
			out = append(out, l)
		}
	}
	if !put {
		out = append(out, *w.want.Line)
	}
	return strings.Join(out, "\n") + "\n", true
}

// once finds things out a single time for all resources.
type once struct {
	sync.Once
	proof
}

var accepted = regexp.MustCompile(`Accepted (\S+) for (\S+) from \S+ port \d+ ssh2(?:: \S+ (SHA256:\S+))?`)

// how asks sshd's log how the login was let in.
func (w *wayIn) how() proof {
	if w.known == nil {
		return proof{}
	}
	w.known.Do(func() {
		if w.known.method != "" || !w.h.Living() {
			return
		}
		for _, pid := range w.Servers {
			script := fmt.Sprintf(`journalctl -q -b -o cat --no-pager _PID=%d 2>/dev/null; grep -hE 'sshd[a-z-]*\[%d\]: Accepted' /var/log/auth.log /var/log/secure 2>/dev/null; :`, pid, pid)
			res, err := w.h.Run(w.ctx, host.Cmd{Args: []string{"/bin/sh", "-c", script}})
			if err != nil {
				return
			}
			for _, m := range accepted.FindAllStringSubmatch(string(res.Stdout), -1) {
				if m[2] == w.User {
					w.known.proof = proof{m[1], m[3]}
				}
			}
		}
	})
	return w.known.proof
}

// mayUsePassword says whether the login has another way in than its keys.
func (w *wayIn) mayUsePassword() bool {
	c := w.sshdSettings("", nil)
	if c.is("passwordauthentication", "no") || w.User == "root" && !c.is("permitrootlogin", "yes") {
		return false
	}
	b, err := w.h.ReadFile("/etc/shadow")
	if err != nil {
		return false
	}
	for l := range strings.Lines(string(b)) {
		if f := strings.Split(l, ":"); len(f) > 1 && f[0] == w.User {
			return strings.HasPrefix(f[1], "$")
		}
	}
	return false
}

func (w *wayIn) sudoWithoutPassword() bool {
	if !w.h.Living() {
		return true
	}
	res, err := w.h.Run(w.ctx, host.Cmd{Args: []string{"sudo", "-n", "-l", "-U", w.User}})
	return err != nil || strings.Contains(string(res.Stdout), "NOPASSWD")
}

// groups are the login's own, by the device's /etc/group.
func (w *wayIn) groups() (names []string) {
	gid := ""
	if b, err := w.h.ReadFile("/etc/passwd"); err == nil {
		for l := range strings.Lines(string(b)) {
			if f := strings.Split(l, ":"); len(f) > 3 && f[0] == w.User {
				gid = f[3]
			}
		}
	}
	b, _ := w.h.ReadFile("/etc/group")
	for l := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSpace(l), ":")
		if len(f) > 3 && (f[2] == gid || slices.Contains(strings.Split(f[3], ","), w.User)) {
			names = append(names, f[0])
		}
	}
	return names
}

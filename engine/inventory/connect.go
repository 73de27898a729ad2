package inventory

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/fitout-dev/fitout/engine/profile/expression"
	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/modules/hint"
)

// Transports are the ways to a device.
var Transports = []string{"ssh", "winrm", "local"}

// connect reads what the layers say together. The schema has checked what is written; here it is what expressions gave.
func (l *loader) connect(values map[string]any, at map[string]*expression.Value) Connect {
	c := Connect{Transport: "ssh"}
	text := func(name string, into *string) {
		switch x := values[name].(type) {
		case string:
			*into = x
		case nil:
		case secret.Value:
			l.fault(at[name].Problem("only password and sudoPassword may hold one", "a secret can't be used here: %s is shown in messages", name))
		}
	}
	hidden := func(name string, into *secret.Value) {
		switch x := values[name].(type) {
		case string:
			*into = secret.New(x)
		case secret.Value:
			*into = x
		}
	}
	text("transport", &c.Transport)
	if !slices.Contains(Transports, c.Transport) && !l.scope.Broken {
		l.fault(at["transport"].Problem("it is one of "+strings.Join(Transports, ", "), "there is no transport %q", c.Transport))
	}
	text("user", &c.User)
	text("jump", &c.Jump)
	text("hostKey", &c.HostKey)
	text("auth", &c.Auth)
	text("fingerprint", &c.Fingerprint)
	text("realm", &c.Realm)
	for name, into := range map[string]*string{"identityFile": &c.IdentityFile, "caFile": &c.CAFile, "keytab": &c.Keytab} {
		text(name, into)
		*into = l.path(*into)
	}
	hidden("password", &c.Password)
	hidden("sudoPassword", &c.SudoPassword)
	if x, set := values["port"]; set && x != nil {
		port, err := strconv.Atoi(fmt.Sprint(x)) // a variable of the environment is text
		if err != nil || port < 1 || port > 65535 {
			l.refuse(at["port"], "%v is no port", x)
		}
		c.Port = port
	}
	if x, set := values["sudo"]; set && x != nil {
		c.Sudo = l.yes(at["sudo"], x)
	}
	if x, set := values["tls"]; set && x != nil {
		yes := l.yes(at["tls"], x)
		c.TLS = &yes
	}
	if x, set := values["pull"]; set && x != nil {
		c.NoPull = !l.yes(at["pull"], x)
	}
	if x, ok := values["timeout"].(string); ok {
		d, err := time.ParseDuration(x)
		if err != nil || d <= 0 {
			l.refuse(at["timeout"], "%q is no length of time", x)
		}
		c.Timeout = d
	}
	return c
}

// refuse reports a value that an expression gave; what is written out is the schema's to refuse.
func (l *loader) refuse(v *expression.Value, format string, args ...any) {
	if !v.Constant() {
		l.fault(v.Problem("", format, args...))
	}
}

func (l *loader) yes(v *expression.Value, x any) bool {
	yes, err := strconv.ParseBool(fmt.Sprint(x))
	if err != nil {
		l.refuse(v, "%v is neither true nor false", x)
	}
	return yes
}

// path is relative to the inventory; ~ is the user's home.
func (l *loader) path(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	if rest, ok := strings.CutPrefix(p, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	return filepath.Join(l.dir, p)
}

// OneOff is a device that is in no inventory: ssh://root@10.0.3.42:22, winrm://Administrator@10.0.3.43, or local.
func OneOff(address string) (Device, error) {
	if address == "local" || address == "local://" {
		return Device{Name: "local", Address: "localhost", Connect: Connect{Transport: "local"}}, nil
	}
	u, err := url.Parse(address)
	example := "write ssh://USER@ADDRESS:PORT, winrm://USER@ADDRESS or local"
	if err != nil || u.Scheme == "" || !isHost(u.Hostname()) || u.Opaque != "" {
		return Device{}, hint.New(fmt.Errorf("%q names no device", withoutPassword(address)), "%s", example)
	}
	if !slices.Contains(Transports, u.Scheme) || u.Scheme == "local" {
		return Device{}, hint.New(fmt.Errorf("there is no transport %q", u.Scheme), "%s", example)
	}
	if _, given := u.User.Password(); given {
		return Device{}, hint.New(fmt.Errorf("a password can't be part of --device: every user of this machine could read it"),
			"leave it out and it is asked for, or put it into an inventory as ${secrets.NAME}")
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return Device{}, hint.New(fmt.Errorf("%q has more than a transport, user, address and port", address), "%s", example)
	}
	if strings.Contains(u.Hostname(), ":") && !strings.HasPrefix(u.Host, "[") {
		return Device{}, hint.New(fmt.Errorf("%q: an IPv6 address needs brackets", withoutPassword(address)), "write ssh://USER@[ADDRESS]:PORT")
	}
	d := Device{Name: u.Hostname(), Address: u.Hostname(), User: u.User.Username()}
	d.Connect = Connect{Transport: u.Scheme, User: d.User}
	if p := u.Port(); p != "" {
		if d.Connect.Port, err = strconv.Atoi(p); err != nil || d.Connect.Port < 1 || d.Connect.Port > 65535 {
			return Device{}, fmt.Errorf("%s is no port", p)
		}
	}
	return d, nil
}

// isHost says whether a text may be a host's name or address at all.
func isHost(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-._:%", r)
	})
}

// withoutPassword takes a password out of what should have been an address.
func withoutPassword(address string) string {
	at := strings.LastIndexByte(address, '@') // the password may hold others
	if at < 0 {
		return address
	}
	user, host := address[:at], address[at+1:]
	scheme, rest, hasScheme := strings.Cut(user, "://")
	if !hasScheme {
		scheme, rest = "", user
	} else {
		scheme += "://"
	}
	name, _, _ := strings.Cut(rest, ":")
	return scheme + name + "@" + host
}

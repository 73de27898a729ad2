//go:build linux

package host

import (
	"context"
	"strings"
	"testing"
)

// directory answers as getent(1) with a directory server does.
type directory struct{ asked []string }

func (d *directory) Run(_ context.Context, c Cmd) (Result, error) {
	d.asked = append(d.asked, strings.Join(c.Args, " "))
	switch d.asked[len(d.asked)-1] {
	case "getent passwd ldapuser", "getent passwd 70001":
		return Result{Stdout: []byte("ldapuser:*:70001:70002:L:/home/l:/bin/sh\n")}, nil
	case "getent group ldapgroup", "getent group 70002":
		return Result{Stdout: []byte("ldapgroup:*:70002:\n")}, nil
	}
	return Result{Code: 2}, nil
}

func TestNamesFromElsewhere(t *testing.T) {
	d := &directory{}
	h := New("/", WithRunner(d))
	Memo(h, "/etc/nsswitch.conf", func() (string, error) { return "passwd: files sss\ngroup:\tfiles [NOTFOUND=continue] ldap # x\n", nil })
	if id, err := h.UID("ldapuser"); err != nil || id != 70001 {
		t.Error(id, err)
	}
	if id, err := h.GID("ldapgroup"); err != nil || id != 70002 {
		t.Error(id, err)
	}
	if n := h.UserName(70001); n != "ldapuser" {
		t.Error(n)
	}
	if n := h.GroupName(70002); n != "ldapgroup" {
		t.Error(n)
	}
	if n := h.UserName(70009); n != "70009" {
		t.Error(n)
	}
	for _, name := range []string{"nobodyknows", "-i", ""} {
		if id, err := h.UID(name); err == nil {
			t.Error(name, id)
		}
	}
	if id, err := h.UID("root"); err != nil || id != 0 {
		t.Error(id, err)
	}
	n := len(d.asked)
	h.UID("ldapuser")
	h.UID("root")
	if len(d.asked) != n {
		t.Errorf("asked again: %q", d.asked[n:])
	}

	d.asked = nil
	for _, conf := range []string{"passwd: files\n", "hosts: dns\n"} {
		h.Forget()
		Memo(h, "/etc/nsswitch.conf", func() (string, error) { return conf, nil })
		if _, err := h.UID("ldapuser"); err == nil || len(d.asked) > 0 {
			t.Errorf("%q: asked %q, %v", conf, d.asked, err)
		}
	}
	if _, err := New(t.TempDir(), WithRunner(d)).UID("ldapuser"); err == nil || len(d.asked) > 0 {
		t.Errorf("another root's names come from this system: %q", d.asked)
	}
}

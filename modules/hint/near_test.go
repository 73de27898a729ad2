package hint_test

import (
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/modules/hint"
)

func TestNear(t *testing.T) {
	among := []string{"name", "shell", "sshKeys", "sshKeysExact", "fullName", "present", "absent", "uid", "gid", "password"}
	for _, c := range []struct {
		word       string
		candidates []string
		want       string
	}{
		{"sshd", []string{"cron", "ssh", "nfs"}, "ssh"},
		{"europe/luxembourg", []string{"Europe/London", "Europe/Luxembourg"}, "Europe/Luxembourg"},
		{"ngnix", []string{"nginx"}, "nginx"},
		{"cron", []string{"apache2", "ssh"}, ""},
		{"x", nil, ""},
		{"", []string{"long"}, ""},
		{"shel", among, "shell"}, {"shlel", among, "shell"}, {"naem", among, "name"}, {"abset", among, "absent"},
		{"fullname", among, "fullName"}, {"sshkeys", among, "sshKeys"}, {"pass", among, "password"},
		{"x", among, ""}, {"zzz", among, ""}, {"color", among, ""}, {strings.Repeat("shell", 1000), among, ""},
	} {
		if got := hint.Near(c.word, c.candidates); got != c.want {
			t.Errorf("Near(%q, %q) = %q, want %q", c.word, c.candidates, got, c.want)
		}
	}
}

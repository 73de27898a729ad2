package hint_test

import (
	"testing"

	"github.com/fitout-dev/fitout/modules/hint"
)

func TestNear(t *testing.T) {
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
	} {
		if got := hint.Near(c.word, c.candidates); got != c.want {
			t.Errorf("Near(%q, %q) = %q, want %q", c.word, c.candidates, got, c.want)
		}
	}
}

package systemd

import "testing"

// A unit's name as D-Bus wants it holds nothing that D-Bus refuses, and stands for that unit alone.
func FuzzObjectPath(f *testing.F) {
	f.Add("ssh.service", "ssh_service")
	f.Add("1a@é.service", "_31a.service")
	f.Fuzz(func(t *testing.T, a, b string) {
		if a == "" || b == "" {
			t.Skip()
		}
		p, q := objectPath(a), objectPath(b)
		if !p.IsValid() || (p == q) != (a == b) {
			t.Errorf("%q is at %q, %q at %q", a, p, b, q)
		}
	})
}

package ssh

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	gossh "golang.org/x/crypto/ssh"

	"github.com/fitout-dev/fitout/modules/hint"
)

func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestScanAndTrust(t *testing.T) {
	s := startSSHD(t, "")
	d := newDialer()
	o := s.options(t)
	o.HostKey, o.IdentityFile = "", ""
	o.KnownHosts = filepath.Join(t.TempDir(), "new", "known_hosts")
	k, err := d.scan(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if k.Address != s.name() || !equalKeys(k.Key, s.host["ed25519"].public) || k.Err == nil || k.Changed {
		t.Errorf("scanned %+v", k)
	}
	if err := Trust(o.KnownHosts, false, k); err != nil {
		t.Fatal(err)
	}
	o.IdentityFile = s.client.path
	dialWith(t, d, o) // the dialer must see the new line
	if k, err = d.scan(t.Context(), o); err != nil || k.Err != nil {
		t.Errorf("scanned once more: %+v, %v", k, err)
	}

	// Re-imaged.
	writeFile(t, o.KnownHosts, "# ours\n"+keyLine("gate,"+s.name(), newKey(t, "").public)+"\n@cert-authority "+keyLine("*.lan", newKey(t, "").public))
	k, err = d.scan(t.Context(), o)
	if err != nil || k.Err == nil || !k.Changed {
		t.Fatalf("scanned %+v, %v", k, err)
	}
	before := readFile(t, o.KnownHosts)
	if err := Trust(o.KnownHosts, false, k); err == nil || !strings.Contains(hint.Of(err), "--replace") {
		t.Errorf("trusting a changed key: %v", err)
	}
	if readFile(t, o.KnownHosts) != before {
		t.Error("a refused change was written")
	}
	if err := Trust(o.KnownHosts, true, k); err != nil {
		t.Fatal(err)
	}
	dialWith(t, d, o)
	after := readFile(t, o.KnownHosts)
	if !strings.HasPrefix(after, "# ours\ngate ssh-ed25519 ") || !strings.Contains(after, "@cert-authority *.lan ") || strings.Count(after, "\n") != 4 {
		t.Errorf("the file is now:\n%s", after)
	}
}

// Many devices are trusted at once, by several processes as far as the lock can tell.
func TestTrustConcurrently(t *testing.T) {
	file := filepath.Join(t.TempDir(), "known_hosts")
	keys := []gossh.PublicKey{newKey(t, "").public, newKey(t, "").public}
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			if err := Trust(file, true, HostKey{Address: fmt.Sprintf("lt-%d", i), Key: keys[0]}, HostKey{Address: "shared", Key: keys[i%2]}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := strings.Count(readFile(t, file), "\n"); n != 41 {
		t.Errorf("%d lines, want 41", n)
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".known_hosts-*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

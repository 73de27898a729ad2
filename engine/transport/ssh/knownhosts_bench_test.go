package ssh

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"

	gossh "golang.org/x/crypto/ssh"
)

// BenchmarkKnownHosts reads a file of 1,000 hosts and looks up one of them, as a command for one device does.
func BenchmarkKnownHosts(b *testing.B) {
	var text strings.Builder
	for i := range 1000 {
		public, _, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		key, err := gossh.NewPublicKey(public)
		if err != nil {
			b.Fatal(err)
		}
		fmt.Fprintf(&text, "lt-%d,10.0.%d.%d %s", i, i/256, i%256, gossh.MarshalAuthorizedKey(key))
	}
	b.ReportAllocs()
	for b.Loop() {
		db := &hostKeys{revoked: map[string]string{}}
		db.parseHostFile("known_hosts", []byte(text.String()))
		if keys, _ := db.known("10.0.2.7"); len(keys) != 1 {
			b.Fatal(keys)
		}
	}
}

package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/engine/transport/knownfile"
	"github.com/fitout-dev/fitout/modules/hint"
)

// HostKey is the key that a host shows.
type HostKey struct {
	Address string // as known_hosts has it: "host" or "[host]:port"
	Key     gossh.PublicKey
	// Err says why Dial would refuse it: an Error of kind HostKey; nil if it is trusted already.
	Err error
	// Changed says that another key is known of the host, so that only replacing helps.
	Changed bool
}

// Fingerprint is the key's type and its fingerprint, as ssh-keygen -l prints it.
func (k HostKey) Fingerprint() string {
	return k.Key.Type() + " " + gossh.FingerprintSHA256(k.Key)
}

var errScanned = errors.New("scanned")

// ScanHostKey asks a host for its key, and trusts nobody: it doesn't log in. Jump hosts on the way must be trusted.
func ScanHostKey(ctx context.Context, o Options) (HostKey, error) { return shared.scan(ctx, o) }

func (d *dialer) scan(ctx context.Context, o Options) (HostKey, error) {
	h, err := d.caches.resolve(o)
	if err != nil {
		return HostKey{}, &transport.Error{Err: err}
	}
	db, err := h.hostKeyDB()
	if err != nil {
		return HostKey{}, &transport.Error{Err: fmt.Errorf("%s: %w", h.label, err)}
	}
	keys, _ := db.known(h.hostKeyName)
	name, _ := splitAddress(h.hostKeyName)
	shown := HostKey{Address: h.hostKeyName}
	err = d.handshake(ctx, h, algorithms(keys, nil), func(key gossh.PublicKey) error {
		shown.Key = key
		shown.Err = db.check(name, h.hostKeyName, h.hostKey, key)
		return errScanned
	}, nil)
	if shown.Key == nil {
		return HostKey{}, err
	}
	if shown.Err != nil {
		p, ok := shown.Err.(*hostKeyProblem)
		shown.Changed = ok && len(p.known) > 0
		shown.Err = explain(h, &attempt{hostKey: shown.Err}, shown.Err)
	}
	return shown, nil
}

// Trust writes host keys to fitout's own file of known hosts (Options.KnownHosts), which is made if it doesn't exist. Several
// processes may do so at once. What is there already stays as it is; where another key is known of a host, that key is
// replaced, or without replace it is an error and nothing at all is written.
func Trust(file string, replace bool, keys ...HostKey) error {
	var refused error
	err := knownfile.Update(file, func(old []byte) (text []byte, err error) {
		text, refused = trust(old, replace, keys)
		return text, refused
	})
	switch {
	case refused != nil:
		return hint.New(fmt.Errorf("%s: %w", file, refused), "if the device was re-imaged, trust its new key with --replace")
	case err != nil:
		return fmt.Errorf("trusting host keys: %w", err)
	}
	return nil
}

// trust returns a file's text with the keys added. A line that names several hosts loses only those that are replaced.
func trust(old []byte, replace bool, keys []HostKey) ([]byte, error) {
	want := map[string]gossh.PublicKey{}
	for _, k := range keys {
		want[strings.ToLower(k.Address)] = k.Key
	}
	var text bytes.Buffer
	have := map[string]bool{}
	for line := range bytes.Lines(old) {
		marker, hosts, key, _, _, err := gossh.ParseKnownHosts(line)
		if err != nil || marker != "" {
			text.Write(line)
			continue
		}
		stay := slices.Clone(hosts)
		for _, host := range hosts {
			switch k := want[strings.ToLower(host)]; {
			case k == nil:
			case equalKeys(k, key):
				have[strings.ToLower(host)] = true
			case !replace:
				return nil, fmt.Errorf("%s has another key: %s %s", host, key.Type(), gossh.FingerprintSHA256(key))
			default:
				stay = slices.DeleteFunc(stay, func(s string) bool { return s == host })
			}
		}
		switch {
		case len(stay) == len(hosts):
			text.Write(line)
		case len(stay) > 0:
			fmt.Fprintln(&text, knownhosts.Line(stay, key))
		}
	}
	if n := text.Len(); n > 0 && text.Bytes()[n-1] != '\n' {
		text.WriteByte('\n')
	}
	for _, k := range keys {
		if host := strings.ToLower(k.Address); !have[host] {
			have[host] = true
			fmt.Fprintln(&text, knownhosts.Line([]string{host}, k.Key))
		}
	}
	return text.Bytes(), nil
}

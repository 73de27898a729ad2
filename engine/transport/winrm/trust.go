package winrm

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/engine/transport/knownfile"
	"github.com/fitout-dev/fitout/modules/hint"
)

// Certificate is what a device shows.
type Certificate struct {
	Address string // host:port
	Cert    *x509.Certificate
	// Err says why Dial would refuse it: an Error of kind HostKey; nil if it is trusted already.
	Err error
	// Changed says that another certificate is known of the device, so that only replacing helps.
	Changed bool
}

// Fingerprint is the certificate's SHA-256.
func (c Certificate) Fingerprint() string { return fingerprint(c.Cert) }

var errScanned = errors.New("scanned")

// ErrNoCertificate is a device that is reached by HTTP.
var ErrNoCertificate = errors.New("it is reached by HTTP, and shows no certificate")

// ScanCertificate asks a device for its certificate, and trusts nobody: it doesn't log in. A device without HTTPS has none:
// that is an error of kind Refused.
func ScanCertificate(ctx context.Context, o Options) (Certificate, error) {
	c, host, port, err := prepare(o)
	if err != nil {
		return Certificate{}, err
	}
	if o.TLS != nil && !*o.TLS || port == httpPort {
		return Certificate{}, &transport.Error{Kind: transport.Protocol, Err: hint.New(fmt.Errorf("%s: %w", o.label(host), ErrNoCertificate), "there is nothing to trust; what goes over HTTP is sealed by Kerberos or NTLM")}
	}
	defer c.end()
	if port == 0 {
		port = httpsPort
	}
	e := newEndpoint(host, port, true)
	shown := Certificate{Address: e.address()}
	c.scan = func(cert *x509.Certificate, problem error) { shown.Cert, shown.Err = cert, problem }
	if _, err = c.connect(ctx, e); shown.Cert == nil {
		return shown, c.explain(err)
	}
	if p, ok := errors.AsType[*certProblem](shown.Err); ok {
		shown.Changed = p.known != ""
	}
	if shown.Err != nil {
		shown.Err = c.explain(shown.Err)
	}
	return shown, nil
}

// Trust writes certificates' fingerprints to a file (Options.Known), which is made if it doesn't exist. Several processes may
// do so at once. What is there stays as it is; where another certificate is known of a device it is replaced, or without
// replace it is an error and nothing is written.
func Trust(file string, replace bool, certs ...Certificate) error {
	var refused error
	err := knownfile.Update(file, func(old []byte) ([]byte, error) {
		var lines []string
		lines, refused = trust(parseKnownFile(file, old).lines, replace, certs)
		return []byte(strings.Join(lines, "\n") + "\n"), refused
	})
	switch {
	case refused != nil:
		return hint.New(fmt.Errorf("%s: %w", file, refused), "if the device was re-imaged, trust its new certificate with --replace")
	case err != nil:
		return fmt.Errorf("trusting certificates: %w", err)
	}
	return nil
}

func trust(lines []string, replace bool, certs []Certificate) ([]string, error) {
	have := map[string]bool{}
	var out []string
	for _, line := range lines {
		address, f, ok := parseKnown(line)
		stays := true
		for _, c := range certs {
			switch {
			case !ok || address != strings.ToLower(c.Address):
			case sameFingerprint(f, c.Fingerprint()):
				have[address] = true
			case !replace:
				return nil, fmt.Errorf("%s has another certificate: %s", address, f)
			default:
				stays = false
			}
		}
		if stays {
			out = append(out, line)
		}
	}
	for _, c := range certs {
		if address := strings.ToLower(c.Address); !have[address] {
			have[address] = true
			out = append(out, address+" "+c.Fingerprint())
		}
	}
	return out, nil
}

// label is what messages call a device at an address.
func (o *Options) label(address string) string {
	host, _, err := net.SplitHostPort(address)
	if o.Device == "" || o.Device == address || err == nil && o.Device == host {
		return address
	}
	return fmt.Sprintf("%s (%s)", o.Device, address)
}

// trustArgs is the command that trusts the certificate, without "fitout trust".
func (o *Options) trustArgs(address string) string {
	if o.Device != "" {
		return o.Device
	}
	return "--device winrm://" + address
}

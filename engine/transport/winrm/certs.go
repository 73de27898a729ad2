package winrm

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
)

// How a certificate is judged:
//
//   - Options.Fingerprint, if set, has to match, and nothing else counts.
//   - A certificate of an authority of the system, or of Options.CAFile, is accepted as any HTTPS client would: its name and
//     its time have to be right.
//   - Others are accepted if their fingerprint is the one that is kept in Options.Known for this host and port.
//
// The file has a line for each host: "host:port SHA256:hex". Blank lines and those that begin with # are passed over.

// fingerprint is what PowerShell shows as Get-FileHash of a certificate, and openssl x509 -fingerprint -sha256: SHA-256.
func fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return "SHA256:" + hex.EncodeToString(sum[:])
}

// sameFingerprint also takes colons, spaces and capitals, as other programs print it.
func sameFingerprint(a, b string) bool {
	plain := func(s string) string {
		s = strings.ToLower(strings.TrimSpace(s))
		s = strings.TrimPrefix(s, "sha256:")
		return strings.NewReplacer(":", "", " ", "", "-", "").Replace(s)
	}
	return plain(a) != "" && plain(a) == plain(b)
}

// certProblem is why a certificate is refused.
type certProblem struct {
	cert    *x509.Certificate
	err     error  // what a verifier says; nil if it wasn't asked
	pin     string // what the inventory wants
	known   string // another fingerprint that is known of the host
	file    string // where
	address string
}

func (p *certProblem) Error() string {
	shown := fingerprint(p.cert)
	switch {
	case p.pin != "":
		return fmt.Sprintf("the certificate is %s, and not the pinned %s", shown, p.pin)
	case p.known != "":
		return fmt.Sprintf("THE CERTIFICATE HAS CHANGED: it is %s now, but %s has %s", shown, p.file, p.known)
	}
	return fmt.Sprintf("the certificate is not known: %s (%s)", shown, p.why())
}

func (p *certProblem) why() string {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(p.err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("it is valid from %s to %s only", p.cert.NotBefore.Format("2006-01-02 15:04"), p.cert.NotAfter.Format("2006-01-02 15:04"))
	case errors.As(p.err, &name):
		names := append([]string{}, p.cert.DNSNames...)
		for _, ip := range p.cert.IPAddresses {
			names = append(names, ip.String())
		}
		if len(names) == 0 {
			names = append(names, p.cert.Subject.CommonName)
		}
		return fmt.Sprintf("it is for %s, not %s", strings.Join(names, ", "), name.Host)
	case errors.As(p.err, &authority):
		if p.cert.Issuer.String() == p.cert.Subject.String() {
			return "self-signed by " + p.cert.Subject.String()
		}
		return "no known authority: " + p.cert.Issuer.String()
	case p.err != nil:
		return p.err.Error()
	}
	return "nobody vouches for it"
}

func (c *Conn) tlsConfig(e *endpoint) *tls.Config {
	conf := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         e.host,
		InsecureSkipVerify: true, // judged below
		VerifyConnection: func(s tls.ConnectionState) error {
			if c.scan != nil {
				c.scan(s.PeerCertificates[0], c.o.judge(e, s.PeerCertificates))
				return errScanned
			}
			return c.o.judge(e, s.PeerCertificates)
		},
	}
	if len(c.client.Certificate) > 0 {
		// Windows asks for the client's certificate once it has seen the request, by TLS 1.2's renegotiation.
		conf.Certificates = []tls.Certificate{c.client}
		conf.Renegotiation = tls.RenegotiateOnceAsClient
		conf.MaxVersion = tls.VersionTLS12
	}
	return conf
}

// judge decides on a certificate.
func (o *Options) judge(e *endpoint, chain []*x509.Certificate) error {
	p := &certProblem{cert: chain[0], address: e.address()}
	if o.Fingerprint != "" {
		if sameFingerprint(o.Fingerprint, fingerprint(p.cert)) {
			return nil
		}
		p.pin = o.Fingerprint
		return p
	}
	verify := x509.VerifyOptions{DNSName: e.host, Intermediates: x509.NewCertPool()}
	for _, cert := range chain[1:] {
		verify.Intermediates.AddCert(cert)
	}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return fmt.Errorf("caFile: %w", err)
		}
		verify.Roots = x509.NewCertPool()
		if !verify.Roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("caFile %s: there is no certificate in it", o.CAFile)
		}
	}
	if _, p.err = p.cert.Verify(verify); p.err == nil {
		return nil
	}
	known, err := readKnown(o.Known)
	if err != nil {
		return err
	}
	for _, f := range known.fingerprints(e.address()) {
		if sameFingerprint(f, fingerprint(p.cert)) {
			return nil
		}
		p.known, p.file = f, known.where(e.address())
	}
	return p
}

// knownCerts is a file of certificates.
type knownCerts struct {
	path  string
	lines []string
}

func readKnown(path string) (*knownCerts, error) {
	if path == "" {
		return &knownCerts{}, nil
	}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("known certificates: %w", err)
	}
	return parseKnownFile(path, b), nil
}

func parseKnownFile(path string, text []byte) *knownCerts {
	k := &knownCerts{path: path}
	for line := range strings.Lines(string(text)) {
		k.lines = append(k.lines, strings.TrimRight(line, "\r\n"))
	}
	return k
}

func parseKnown(line string) (address, fingerprint string, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
		return "", "", false
	}
	if _, _, err := net.SplitHostPort(fields[0]); err != nil {
		return "", "", false
	}
	return strings.ToLower(fields[0]), fields[1], true
}

func (k *knownCerts) fingerprints(address string) (all []string) {
	for _, line := range k.lines {
		if a, f, ok := parseKnown(line); ok && a == strings.ToLower(address) {
			all = append(all, f)
		}
	}
	return all
}

func (k *knownCerts) where(address string) string {
	for i, line := range k.lines {
		if a, _, ok := parseKnown(line); ok && a == strings.ToLower(address) {
			return fmt.Sprintf("%s:%d", k.path, i+1)
		}
	}
	return k.path
}

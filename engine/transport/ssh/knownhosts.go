package ssh

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// hostKeys is what the known_hosts files say. x/crypto's knownhosts refuses a whole file for one line that it doesn't know,
// ignores wildcards in ports and tells neither the algorithms to offer nor the file that counts, hence this. Rules:
//
//   - Files come in order of precedence: as soon as one has plain keys of a host, those in later files don't count.
//     So what `fitout trust --replace` wrote prevails over an outdated line elsewhere.
//   - A @revoked key, as a host's key or as a certificate's authority, is refused whatever else is said of it.
//   - As with OpenSSH, a host at another port than 22 is known too if the key stands there without a port.
//   - Lines that can't be parsed are passed over.
type hostKeys struct {
	files   []hostFile
	revoked map[string]string // the key's wire format -> file:line
}

type hostFile struct {
	path string
	// plain are the lines that name a host literally, parsed when that host is asked for: there may be thousands. patterns
	// are the others (wildcards, hashes, authorities).
	plain    map[string][]textLine
	patterns []hostLine
}

type textLine struct {
	n    int
	text []byte
}

type hostLine struct {
	where     string // file:line
	hosts     []string
	key       gossh.PublicKey
	authority bool
}

// parseHostFile adds a file's lines.
func (h *hostKeys) parseHostFile(path string, text []byte) {
	f := hostFile{path: path, plain: map[string][]textLine{}}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		first := firstField(line)
		if len(first) == 0 || first[0] == '#' {
			continue
		}
		if first[0] != '@' && !bytes.ContainsAny(first, "*?!|") {
			for host := range bytes.SplitSeq(first, []byte(",")) {
				host := strings.ToLower(string(host))
				f.plain[host] = append(f.plain[host], textLine{n, line})
			}
			continue
		}
		switch l, marker, ok := parseHostLine(path, textLine{n, line}); {
		case !ok:
		case marker == "revoked":
			h.revoked[string(l.key.Marshal())] = l.where
		case marker == "" || l.authority:
			f.patterns = append(f.patterns, l)
		}
	}
	h.files = append(h.files, f)
}

func firstField(line []byte) []byte {
	line = bytes.TrimLeft(line, " \t")
	if i := bytes.IndexAny(line, " \t\r\n"); i >= 0 {
		line = line[:i]
	}
	return line
}

func parseHostLine(path string, t textLine) (l hostLine, marker string, ok bool) {
	marker, hosts, key, _, _, err := gossh.ParseKnownHosts(t.text)
	return hostLine{where: fmt.Sprintf("%s:%d", path, t.n), hosts: hosts, key: key, authority: marker == "cert-authority"}, marker, err == nil
}

// lines returns the plain keys and the authorities of a normalized address ("host" or "[host]:port").
func (h *hostKeys) lines(address string) (keys, authorities []hostLine) {
	address = strings.ToLower(address)
	for _, f := range h.files {
		var here []hostLine
		for _, t := range f.plain[address] {
			if l, _, ok := parseHostLine(f.path, t); ok {
				here = append(here, l)
			}
		}
		for _, l := range f.patterns {
			switch {
			case !matchHost(l.hosts, address):
			case l.authority:
				authorities = append(authorities, l)
			default:
				here = append(here, l)
			}
		}
		if keys == nil {
			keys = here
		}
	}
	return keys, authorities
}

// known is lines, extended by OpenSSH's rule for other ports.
func (h *hostKeys) known(address string) (keys, authorities []hostLine) {
	keys, authorities = h.lines(address)
	if host, _, err := net.SplitHostPort(address); err == nil && keys == nil {
		k, a := h.lines(host)
		keys, authorities = k, append(authorities, a...)
	}
	return keys, authorities
}

func matchHost(patterns []string, address string) bool {
	if len(patterns) == 1 && strings.HasPrefix(patterns[0], "|1|") {
		return matchHash(patterns[0], address)
	}
	return matchPatterns(patterns, address)
}

// matchHash compares with a hashed name: |1|salt|HMAC-SHA1(salt, name).
func matchHash(hashed, address string) bool {
	parts := strings.Split(hashed, "|")
	if len(parts) != 4 {
		return false
	}
	salt, err1 := base64.StdEncoding.DecodeString(parts[2])
	sum, err2 := base64.StdEncoding.DecodeString(parts[3])
	if err1 != nil || err2 != nil {
		return false
	}
	mac := hmac.New(sha1.New, salt)
	mac.Write([]byte(address))
	return hmac.Equal(mac.Sum(nil), sum)
}

// plainAlgorithms are offered in this order; those of known keys go first. Ed25519 is the cheapest to verify.
var plainAlgorithms = []string{
	gossh.KeyAlgoED25519,
	gossh.KeyAlgoECDSA256, gossh.KeyAlgoECDSA384, gossh.KeyAlgoECDSA521,
	gossh.KeyAlgoRSASHA512, gossh.KeyAlgoRSASHA256,
}

var certAlgorithms = []string{
	gossh.CertAlgoED25519v01,
	gossh.CertAlgoECDSA256v01, gossh.CertAlgoECDSA384v01, gossh.CertAlgoECDSA521v01,
	gossh.CertAlgoRSASHA512v01, gossh.CertAlgoRSASHA256v01,
}

// algorithms are what to offer to a host of which these keys are known. A server shows the key of the first algorithm that
// it has: offered in another order, a known host would seem to have changed.
func algorithms(keys, authorities []hostLine) []string {
	var offer []string
	if len(authorities) > 0 {
		offer = append(offer, certAlgorithms...)
	}
	isKnown := func(algorithm string) bool {
		return slices.ContainsFunc(keys, func(l hostLine) bool {
			t := l.key.Type()
			return t == algorithm || t == gossh.KeyAlgoRSA && strings.HasPrefix(algorithm, "rsa-")
		})
	}
	for _, a := range plainAlgorithms {
		if isKnown(a) {
			offer = append(offer, a)
		}
	}
	for _, a := range plainAlgorithms {
		if !isKnown(a) {
			offer = append(offer, a)
		}
	}
	return offer
}

// hostKeyProblem is why a host key is refused.
type hostKeyProblem struct {
	key     gossh.PublicKey
	known   []hostLine // other keys that are known of the host
	revoked string     // where it is revoked
	err     error      // what is wrong with its certificate
	pin     string     // the key that the inventory wants
}

func (p *hostKeyProblem) Error() string {
	shown := p.key.Type() + " " + gossh.FingerprintSHA256(p.key)
	switch {
	case p.revoked != "":
		return fmt.Sprintf("the host key %s is revoked (%s)", shown, p.revoked)
	case p.err != nil:
		return fmt.Sprintf("the host certificate is not accepted: %v", p.err)
	case p.pin != "":
		return fmt.Sprintf("the host key is %s, and not the pinned %s", shown, p.pin)
	case len(p.known) > 0:
		l := p.known[0]
		return fmt.Sprintf("THE HOST KEY HAS CHANGED: it is %s now, but %s has %s %s", shown, l.where, l.key.Type(), gossh.FingerprintSHA256(l.key))
	}
	return fmt.Sprintf("the host key is not known: %s", shown)
}

// check decides whether a host may show this key. name is the host's name without a port, as certificates hold it; pin
// is a fingerprint or a key line that it must match, or "".
func (h *hostKeys) check(name, address, pin string, key gossh.PublicKey) error {
	plain := key
	cert, isCert := key.(*gossh.Certificate)
	if isCert {
		plain = cert.Key
		if where, ok := h.revoked[string(cert.SignatureKey.Marshal())]; ok {
			return &hostKeyProblem{key: cert.SignatureKey, revoked: where}
		}
	}
	if where, ok := h.revoked[string(plain.Marshal())]; ok {
		return &hostKeyProblem{key: plain, revoked: where}
	}
	if pin != "" {
		if matchPin(pin, plain) {
			return nil
		}
		return &hostKeyProblem{key: plain, pin: pin}
	}
	keys, authorities := h.known(address)
	if isCert {
		checker := gossh.CertChecker{IsHostAuthority: func(k gossh.PublicKey, _ string) bool {
			return slices.ContainsFunc(authorities, func(l hostLine) bool { return equalKeys(l.key, k) })
		}}
		err := checker.CheckHostKey(net.JoinHostPort(name, "22"), nil, cert)
		if err != nil {
			return &hostKeyProblem{key: cert, err: errors.New(strings.TrimPrefix(err.Error(), "ssh: "))}
		}
		return nil
	}
	if slices.ContainsFunc(keys, func(l hostLine) bool { return equalKeys(l.key, key) }) {
		return nil
	}
	// A key that stands there without the port speaks for a host, but not against one.
	strict, _ := h.lines(address)
	return &hostKeyProblem{key: key, known: strict}
}

func equalKeys(a, b gossh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

// matchPin compares with "SHA256:...", or with a key as it stands in authorized_keys or known_hosts.
func matchPin(pin string, key gossh.PublicKey) bool {
	for _, field := range strings.Fields(pin) {
		if field == gossh.FingerprintSHA256(key) || field == base64.StdEncoding.EncodeToString(key.Marshal()) {
			return true
		}
	}
	return false
}

// pinAlgorithms moves the algorithms of the pinned key to the front, if the pin tells its type.
func pinAlgorithms(pin string) []string {
	var l []hostLine
	if key, _, _, _, err := gossh.ParseAuthorizedKey([]byte(pin)); err == nil {
		l = []hostLine{{key: key}}
	} else if _, _, key, _, _, err := gossh.ParseKnownHosts([]byte(pin)); err == nil {
		l = []hostLine{{key: key}}
	}
	return algorithms(l, nil)
}

// normalize is an address as known_hosts has it.
func normalize(host, port string) string { return knownhosts.Normalize(net.JoinHostPort(host, port)) }

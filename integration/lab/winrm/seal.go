package winrm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Message encryption ([MS-WSMV] 2.2.9.1): a body of two parts, which look like MIME and aren't (tabs, no empty lines).
const (
	boundary         = "Encrypted Boundary"
	protocolSPNEGO   = "application/HTTP-SPNEGO-session-encrypted"
	protocolKerberos = "application/HTTP-Kerberos-session-encrypted"
)

// sealedProtocol returns the protocol that a Content-Type names, or "" for a body that is not sealed.
func sealedProtocol(contentType string) string {
	if !strings.HasPrefix(strings.ToLower(contentType), "multipart/encrypted") {
		return ""
	}
	for _, p := range []string{protocolSPNEGO, protocolKerberos} {
		if strings.Contains(contentType, `protocol="`+p+`"`) && strings.Contains(contentType, `boundary="`+boundary+`"`) {
			return p
		}
	}
	return ""
}

var original = regexp.MustCompile(`(?i)^OriginalContent: *type=application/soap\+xml;charset=UTF-8;Length=(\d+)$`)

// unsealBody opens a sealed body.
func unsealBody(m mechanism, protocol string, body []byte) ([]byte, error) {
	sep := []byte("--" + boundary)
	rest, ok := bytes.CutPrefix(body, append(bytes.Clone(sep), "\r\n"...))
	if !ok {
		return nil, errors.New("sealed body: no boundary at its start")
	}
	head, payload, ok := bytes.Cut(rest, append(bytes.Clone(sep), "\r\n"...))
	if !ok {
		return nil, errors.New("sealed body: no second part")
	}
	length := -1
	var typed bool
	for line := range strings.SplitSeq(string(head), "\r\n") {
		line = strings.TrimSpace(line)
		if line == "Content-Type: "+protocol {
			typed = true
		}
		if f := original.FindStringSubmatch(line); f != nil {
			length, _ = strconv.Atoi(f[1])
		}
	}
	if !typed || length < 0 {
		return nil, fmt.Errorf("sealed body: bad first part %q", head)
	}
	payload, ok = bytes.CutPrefix(payload, []byte("\tContent-Type: application/octet-stream\r\n"))
	if !ok {
		return nil, errors.New("sealed body: the second part is no octet stream")
	}
	payload = bytes.TrimSuffix(payload, []byte("\r\n"))
	payload, ok = bytes.CutSuffix(payload, append(bytes.Clone(sep), "--"...))
	if !ok {
		return nil, errors.New("sealed body: no boundary at its end")
	}
	if len(payload) < 4 {
		return nil, errors.New("sealed body: no signature")
	}
	n := int(binary.LittleEndian.Uint32(payload))
	if n < 0 || 4+n > len(payload) {
		return nil, errors.New("sealed body: the signature is cut")
	}
	message, err := m.unseal(payload[4:4+n], payload[4+n:])
	if err != nil {
		return nil, err
	}
	if len(message) != length {
		return nil, fmt.Errorf("sealed body: %d bytes, announced as %d", len(message), length)
	}
	return message, nil
}

// sealBody seals an answer and returns its Content-Type too.
func sealBody(m mechanism, protocol string, message []byte) (contentType string, body []byte, err error) {
	signature, sealed, err := m.seal(message)
	if err != nil {
		return "", nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "--%s\r\n\tContent-Type: %s\r\n\tOriginalContent: type=application/soap+xml;charset=UTF-8;Length=%d\r\n--%s\r\n\tContent-Type: application/octet-stream\r\n",
		boundary, protocol, len(message), boundary)
	b.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(signature))))
	b.Write(signature)
	b.Write(sealed)
	b.WriteString("--" + boundary + "--\r\n")
	return `multipart/encrypted;protocol="` + protocol + `";boundary="` + boundary + `"`, b.Bytes(), nil
}

package winrm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A sealed message (MS-WSMV, 2.2.9.1) looks like a multipart body, but is none that mime/multipart would read: its headers
// begin with a tab, and its binary part isn't followed by a line's end.

const (
	sealedBoundary = "--Encrypted Boundary"
	sealedProtocol = "application/HTTP-SPNEGO-session-encrypted"
	sealedType     = `multipart/encrypted;protocol="` + sealedProtocol + `";boundary="Encrypted Boundary"`
	soapType       = "application/soap+xml;charset=UTF-8"
)

func sealMessage(s sealer, plain []byte) ([]byte, error) {
	signature, sealed, err := s.Seal(plain)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\r\n\tContent-Type: %s\r\n\tOriginalContent: type=%s;Length=%d\r\n", sealedBoundary, sealedProtocol, soapType, len(plain))
	fmt.Fprintf(&b, "%s\r\n\tContent-Type: application/octet-stream\r\n", sealedBoundary)
	b.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(signature))))
	b.Write(signature)
	b.Write(sealed)
	b.WriteString(sealedBoundary + "--\r\n")
	return b.Bytes(), nil
}

// isSealed says whether a Content-Type is that of a sealed message. Kerberos has a name of its own with some servers.
func isSealed(contentType string) bool {
	return strings.HasPrefix(contentType, "multipart/encrypted") && strings.Contains(contentType, "-session-encrypted")
}

var errSealed = errors.New("a sealed message can't be read")

// unsealMessage opens one. The sealed part is found by what goes before and after it: it may hold any bytes.
func unsealMessage(s sealer, body []byte) ([]byte, error) {
	head, rest, ok := cut(body, sealedBoundary+"\r\n")
	if !ok || len(bytes.TrimSpace(head)) > 0 {
		return nil, errSealed
	}
	head, rest, ok = cut(rest, sealedBoundary+"\r\n")
	if !ok {
		return nil, errSealed
	}
	length := -1
	for line := range strings.Lines(string(head)) {
		if _, n, ok := strings.Cut(line, "Length="); ok {
			n, err := strconv.Atoi(strings.TrimSpace(n))
			if err != nil || n < 0 {
				return nil, errSealed
			}
			length = n
		}
	}
	head, rest, ok = cut(rest, "\r\n")
	if !ok || length < 0 || !strings.EqualFold(strings.TrimSpace(string(head)), "Content-Type: application/octet-stream") {
		return nil, errSealed
	}
	rest, ok = bytes.CutSuffix(bytes.TrimSuffix(rest, []byte("\r\n")), []byte(sealedBoundary+"--"))
	if !ok || len(rest) < 4 {
		return nil, errSealed
	}
	n := binary.LittleEndian.Uint32(rest)
	if rest = rest[4:]; uint64(n) > uint64(len(rest)) {
		return nil, errSealed
	}
	plain, err := s.Unseal(rest[:n], rest[n:])
	if err != nil {
		return nil, err
	}
	if len(plain) != length {
		return nil, fmt.Errorf("%w: %d bytes where there should be %d", errSealed, len(plain), length)
	}
	return plain, nil
}

func cut(b []byte, sep string) (before, after []byte, found bool) {
	return bytes.Cut(b, []byte(sep))
}

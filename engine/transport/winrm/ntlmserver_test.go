//go:build unix

package winrm

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/rc4"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"

	"golang.org/x/crypto/md4"
)

// ntlmServer is server by HTTP with NTLM: what comes unsealed, it reports and refuses. Its NTLM is the specification's, and
// shares nothing with the client's.
type ntlmServer struct {
	*server
	http *httptest.Server

	mu       sync.Mutex
	requests int
	clear    []string
	logins   int // that have failed
	forget   int // so many logins are forgotten at the next message
}

func newNTLMServer(t testing.TB) *ntlmServer {
	n := &ntlmServer{server: newServer(t)}
	n.http = httptest.NewUnstartedServer(n)
	n.http.Config.ErrorLog = log.New(io.Discard, "", 0)
	n.http.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, ntlmConnKey{}, &ntlmConn{})
	}
	n.http.Start()
	t.Cleanup(func() {
		n.http.CloseClientConnections()
		n.http.Close()
		for _, what := range n.clear {
			t.Errorf("in the clear: %.80s", what)
		}
	})
	return n
}

func (n *ntlmServer) options() Options {
	no := false
	return Options{Address: n.http.Listener.Addr().String(), User: `LAB\` + testUser, Password: func() (string, error) { return testPassword, nil }, TLS: &no}
}

type ntlmConnKey struct{}

func (n *ntlmServer) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.requests
}

// ntlmConn is what a connection knows of its client.
type ntlmConn struct {
	negotiate, challenge []byte
	seal                 *ntlmSession
}

func (n *ntlmServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := r.Context().Value(ntlmConnKey{}).(*ntlmConn)
	body, _ := io.ReadAll(r.Body)
	n.mu.Lock()
	n.requests++
	if len(body) > 0 && !isSealed(r.Header.Get("Content-Type")) {
		n.clear = append(n.clear, string(body))
	}
	if n.forget > 0 && c.seal != nil {
		n.forget--
		c.seal = nil
	}
	n.mu.Unlock()
	_, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token, _ := base64.StdEncoding.DecodeString(value)
	switch {
	case len(token) > 12 && token[8] == 1:
		c.negotiate, c.challenge, c.seal = token, ntlmChallenge(), nil
		w.Header().Set("WWW-Authenticate", "Negotiate "+base64.StdEncoding.EncodeToString(c.challenge))
		w.WriteHeader(http.StatusUnauthorized)
		return
	case len(token) > 88 && token[8] == 3:
		var err error
		if c.seal, err = c.accept(token); err != nil {
			n.mu.Lock()
			n.logins++
			n.mu.Unlock()
			break
		}
		return
	}
	if c.seal == nil {
		w.Header().Set("WWW-Authenticate", "Negotiate")
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	plain, err := unsealMessage(c.seal, body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	inner := r.Clone(r.Context())
	inner.Header = http.Header{"Content-Type": {soapType}}
	inner.SetBasicAuth(testUser, testPassword)
	inner.Body = io.NopCloser(bytes.NewReader(plain))
	answer := httptest.NewRecorder()
	n.server.ServeHTTP(answer, inner)
	sealed, err := sealMessage(c.seal, answer.Body.Bytes())
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", sealedType)
	w.WriteHeader(answer.Code)
	w.Write(sealed)
}

func mac(h hash.Hash, parts ...[]byte) []byte {
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

func utf16le(s string) (b []byte) {
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func ntlmChallenge() []byte {
	m := append([]byte("NTLMSSP\x00\x02\x00\x00\x00"), make([]byte, 36)...)
	binary.LittleEndian.PutUint32(m[16:], 48)
	binary.LittleEndian.PutUint32(m[20:], 0xe28a8235) // as Windows Server 2022 has it
	rand.Read(m[24:32])
	info := []byte{2, 0, 6, 0, 'L', 0, 'A', 0, 'B', 0, 7, 0, 8, 0, 0, 0xb0, 0xbd, 0x58, 0xfb, 0x5d, 0xdb, 1, 0, 0, 0, 0}
	binary.LittleEndian.PutUint16(m[40:], uint16(len(info)))
	binary.LittleEndian.PutUint16(m[42:], uint16(len(info)))
	binary.LittleEndian.PutUint32(m[44:], 48)
	return append(m, info...)
}

// accept verifies an AUTHENTICATE message (MS-NLMP, 3.2.5.1.2).
func (c *ntlmConn) accept(m []byte) (*ntlmSession, error) {
	field := func(at int) []byte {
		n, offset := binary.LittleEndian.Uint16(m[at:]), binary.LittleEndian.Uint32(m[at+4:])
		return m[offset:][:n]
	}
	if c.challenge == nil || !bytes.Equal(field(36), utf16le(testUser)) {
		return nil, errors.New("no such user")
	}
	key := mac(md4.New(), utf16le(testPassword))
	response := mac(hmac.New(md5.New, key), utf16le(strings.ToUpper(testUser)), field(28))
	nt := field(20)
	if !bytes.Equal(nt[:16], mac(hmac.New(md5.New, response), c.challenge[24:32], nt[16:])) {
		return nil, errors.New("wrong password")
	}
	session := make([]byte, 16)
	base, _ := rc4.NewCipher(mac(hmac.New(md5.New, response), nt[:16]))
	base.XORKeyStream(session, field(52))
	whole := bytes.Clone(m)
	clear(whole[72:88])
	if !bytes.Equal(m[72:88], mac(hmac.New(md5.New, session), c.negotiate, c.challenge, whole)) {
		return nil, errors.New("the message was altered")
	}
	c.challenge = nil
	return newNTLMSession(session), nil
}

// ntlmSession is the server's end of the sealing.
type ntlmSession struct {
	in, out   *rc4.Cipher
	inKey     []byte
	outKey    []byte
	inN, outN uint32
}

func newNTLMSession(key []byte) *ntlmSession {
	derive := func(way, what string) []byte {
		return mac(md5.New(), key, []byte("session key to "+way+" "+what+" key magic constant\x00"))
	}
	in, _ := rc4.NewCipher(derive("client-to-server", "sealing"))
	out, _ := rc4.NewCipher(derive("server-to-client", "sealing"))
	return &ntlmSession{in: in, out: out, inKey: derive("client-to-server", "signing"), outKey: derive("server-to-client", "signing")}
}

func ntlmSign(key []byte, c *rc4.Cipher, n uint32, plain []byte) []byte {
	number := binary.LittleEndian.AppendUint32(nil, n)
	check := mac(hmac.New(md5.New, key), number, plain)[:8]
	c.XORKeyStream(check, check)
	return append(append([]byte{1, 0, 0, 0}, check...), number...)
}

func (s *ntlmSession) Seal(plain []byte) (signature, sealed []byte, err error) {
	sealed = make([]byte, len(plain))
	s.out.XORKeyStream(sealed, plain)
	signature = ntlmSign(s.outKey, s.out, s.outN, plain)
	s.outN++
	return signature, sealed, nil
}

func (s *ntlmSession) Unseal(signature, sealed []byte) ([]byte, error) {
	plain := make([]byte, len(sealed))
	s.in.XORKeyStream(plain, sealed)
	want := ntlmSign(s.inKey, s.in, s.inN, plain)
	s.inN++
	if !bytes.Equal(want, signature) {
		return nil, errors.New("bad signature")
	}
	return plain, nil
}

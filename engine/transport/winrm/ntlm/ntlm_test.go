package ntlm

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/modules/fuzzing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The example of MS-NLMP, 4.2.4: user "User" of "Domain" with the password "Password", all session keys 0x55.
func TestSpecification(t *testing.T) {
	key := Key("Password")
	if want := unhex(t, "a4f49c406510bdcab6824ee7c30fd852"); !bytes.Equal(key[:], want) {
		t.Errorf("NTOWFv1 is %x, want %x", key, want)
	}
	response := sum(hmac.New(md5.New, key[:]), encode("USER"), encode("Domain"))
	if want := unhex(t, "0c868a403bfd7a93a3001ef22ef02e3f"); !bytes.Equal(response, want) {
		t.Errorf("NTOWFv2 is %x, want %x", response, want)
	}
	s := newSession(bytes.Repeat([]byte{0x55}, 16), true)
	if want := unhex(t, "4788dc861b4782f35d43fd98fe1a2d39"); !bytes.Equal(s.out.sign, want) {
		t.Errorf("the signing key is %x, want %x", s.out.sign, want)
	}
	signature, sealed, err := s.Seal(encode("Plaintext"))
	if err != nil {
		t.Fatal(err)
	}
	if want := unhex(t, "54e50165bf1936dc996020c1811b0f06fb5f"); !bytes.Equal(sealed, want) {
		t.Errorf("sealed: %x, want %x", sealed, want)
	}
	if want := unhex(t, "01000000 7fb38ec5c55d4976 00000000"); !bytes.Equal(signature, want) {
		t.Errorf("signature: %x, want %x", signature, want)
	}
}

// acceptor is a server's side: it believes what it can recompute with the user's key.
type acceptor struct {
	key       [16]byte
	flags     uint32
	timestamp bool
	challenge []byte
}

func (a *acceptor) challengeMessage() []byte {
	info := []byte{2, 0, 2, 0, 'D', 0}
	if a.timestamp {
		info = append(info, 7, 0, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8)
	}
	info = append(info, 0, 0, 0, 0)
	m := newMessage(2, 56)
	binary.LittleEndian.PutUint32(m.b[20:], a.flags)
	copy(m.b[24:], "nonce123")
	m.field(40, info)
	a.challenge = m.b
	return m.b
}

func payload(m []byte, at int) []byte {
	n, offset := binary.LittleEndian.Uint16(m[at:]), binary.LittleEndian.Uint32(m[at+4:])
	return m[offset:][:n]
}

// accept returns the session's other end.
func (a *acceptor) accept(t *testing.T, negotiate, m []byte) *Session {
	t.Helper()
	user, domain, proof := payload(m, 36), payload(m, 28), payload(m, 20)
	upper := encode(strings.ToUpper(decode(user)))
	response := sum(hmac.New(md5.New, a.key[:]), upper, domain)
	if want := sum(hmac.New(md5.New, response), []byte("nonce123"), proof[16:]); !bytes.Equal(proof[:16], want) {
		t.Fatalf("the proof is %x, want %x", proof[:16], want)
	}
	key := sum(hmac.New(md5.New, response), proof[:16])
	if exchanged := payload(m, 52); len(exchanged) > 0 {
		session := make([]byte, 16)
		cipher(key).XORKeyStream(session, exchanged)
		key = session
	}
	if a.timestamp {
		mic := bytes.Clone(m[72:88])
		clear(m[72:88])
		if want := sum(hmac.New(md5.New, key), negotiate, a.challenge, m); !bytes.Equal(mic, want) {
			t.Errorf("the integrity code is %x, want %x", mic, want)
		}
		if len(bytes.Trim(payload(m, 12), "\x00")) != 0 {
			t.Error("there is an LM response beside the integrity code")
		}
	}
	s := newSession(key, len(payload(m, 52)) > 0)
	s.in, s.out = s.out, s.in
	return s
}

func decode(b []byte) string {
	var s strings.Builder
	for i := 0; i+1 < len(b); i += 2 {
		s.WriteRune(rune(binary.LittleEndian.Uint16(b[i:])))
	}
	return s.String()
}

func TestLogin(t *testing.T) {
	for _, test := range []struct {
		name, user string
		flags      uint32
		timestamp  bool
	}{
		{"as Windows does", `EXAMPLE\Bob`, wanted, true},
		{"without a time", "bob@example.com", wanted, false},
		{"without a key of ours", "bob", wanted &^ keyExchange, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &Client{User: test.user, Key: Key("Páßword"), Target: "HTTP/x", Workstation: "HERE"}
			a := &acceptor{key: c.Key, flags: test.flags, timestamp: test.timestamp}
			negotiate := c.Negotiate()
			m, s, err := c.Authenticate(a.challengeMessage())
			if err != nil {
				t.Fatal(err)
			}
			other := a.accept(t, negotiate, m)
			for range 3 {
				for _, way := range []struct{ from, to *Session }{{s, other}, {other, s}} {
					signature, sealed, _ := way.from.Seal([]byte("hello"))
					got, err := way.to.Unseal(signature, sealed)
					if err != nil || string(got) != "hello" {
						t.Fatalf("got %q, %v", got, err)
					}
				}
			}
			signature, sealed, _ := other.Seal([]byte("hello"))
			sealed[0] ^= 1
			if _, err := s.Unseal(signature, sealed); err == nil {
				t.Error("an altered message was accepted")
			}
		})
	}
}

// A server can't talk us down to what anybody can break.
func TestWeakServers(t *testing.T) {
	for _, lacks := range []uint32{seal, sign, strong, extendedSecurity} {
		c := &Client{User: "u", Key: Key("p")}
		c.Negotiate()
		if _, _, err := c.Authenticate((&acceptor{flags: wanted &^ lacks}).challengeMessage()); err == nil {
			t.Errorf("without %#x: no error", lacks)
		}
	}
}

func FuzzChallenge(f *testing.F) {
	f.Add((&acceptor{flags: wanted, timestamp: true}).challengeMessage())
	f.Add((&acceptor{flags: wanted}).challengeMessage())
	f.Add([]byte("NTLMSSP\x00\x02\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > fuzzing.Most {
			return
		}
		fuzzing.Soon(func() {
			c := &Client{User: `D\u`, Key: Key("p"), Target: "HTTP/x"}
			c.Negotiate()
			m, s, err := c.Authenticate(b)
			if err == nil && (s == nil || len(m) < 88) {
				t.Errorf("half a login of %x", b)
			}
		})
	})
}

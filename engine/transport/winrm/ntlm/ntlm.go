// Package ntlm is the client's half of NTLMv2 with sealed messages (MS-NLMP).
//
//	c := &ntlm.Client{User: `EXAMPLE\admin`, Key: ntlm.Key(password), Target: "HTTP/lt-042"}
//	first := c.Negotiate()                            // to the server, which answers with its challenge
//	last, session, err := c.Authenticate(challenge)   // to the server, which has nothing more to say
//	signature, sealed := session.Seal(plain)
//
// It promises: NTLMv1, LM and weak session keys are refused, whatever a server asks for; a challenge may be any bytes.
//
// Of the modules at hand, Azure/go-ntlmssp can't seal, and bodgit/ntlmssp reads a challenge without checking its offsets.
package ntlm

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/rc4"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf16"

	"golang.org/x/crypto/md4" //lint:ignore SA1019 NTLM is made of it
)

// Flags of MS-NLMP, 2.2.2.5.
const (
	unicode          = 1 << 0
	requestTarget    = 1 << 2
	sign             = 1 << 4
	seal             = 1 << 5
	ntlm             = 1 << 9
	alwaysSign       = 1 << 15
	extendedSecurity = 1 << 19
	targetInfo       = 1 << 23
	version          = 1 << 25
	strong           = 1 << 29
	keyExchange      = 1 << 30
	weak             = 1 << 31

	wanted   = unicode | requestTarget | sign | seal | ntlm | alwaysSign | extendedSecurity | targetInfo | version | strong | keyExchange | weak
	required = unicode | sign | seal | extendedSecurity | strong
)

// Attributes of a target, 2.2.2.1.
const (
	avEnd       = 0
	avFlags     = 6
	avTimestamp = 7
	avTarget    = 9
	avBinding   = 10
)

var magic = []byte("NTLMSSP\x00")

// Client logs in once.
type Client struct {
	// User may be DOMAIN\name, name@domain, or a name that the server knows.
	User string
	Key  [16]byte // made by Key
	// Target is the service's name, "HTTP/host".
	Target string
	// Binding is the MD5 of the TLS channel's bindings, if there is a channel.
	Binding []byte
	// Workstation is this machine's name.
	Workstation string

	negotiate []byte
}

// Key is what stands for a password.
func Key(password string) (key [16]byte) {
	h := md4.New()
	h.Write(encode(password))
	h.Sum(key[:0])
	return key
}

// Negotiate is the first message.
func (c *Client) Negotiate() []byte {
	m := append([]byte{}, magic...)
	m = binary.LittleEndian.AppendUint32(m, 1)
	m = binary.LittleEndian.AppendUint32(m, wanted)
	m = append(m, make([]byte, 16)...) // neither domain nor workstation: they would be this machine's
	m = append(m, windows10...)
	c.negotiate = m
	return m
}

// windows10 is the version that is told: nothing hangs on it.
var windows10 = []byte{10, 0, 0x61, 0x4a, 0, 0, 0, 15}

// Authenticate answers a challenge.
func (c *Client) Authenticate(message []byte) ([]byte, *Session, error) {
	ch, err := parse(message)
	if err != nil {
		return nil, nil, err
	}
	if missing := required &^ ch.flags; missing != 0 {
		return nil, nil, fmt.Errorf("the server's NTLM is too weak: it lacks the flags %#x", missing)
	}
	user, domain := c.User, ""
	if d, u, ok := strings.Cut(c.User, `\`); ok {
		user, domain = u, d
		if domain == "." { // this very machine, as people write it
			domain = ""
		}
	}
	response := sum(hmac.New(md5.New, c.Key[:]), encode(strings.ToUpper(user)), encode(domain))

	clientChallenge := make([]byte, 8)
	rand.Read(clientChallenge)
	info, now, hasMIC := ch.answerInfo(c.Target, c.Binding)
	temp := append([]byte{1, 1, 0, 0, 0, 0, 0, 0}, now...)
	temp = append(temp, clientChallenge...)
	temp = append(temp, 0, 0, 0, 0)
	temp = append(temp, info...)
	temp = append(temp, 0, 0, 0, 0)
	proof := sum(hmac.New(md5.New, response), ch.nonce, temp)
	lm := make([]byte, 24)
	if !hasMIC {
		lm = append(sum(hmac.New(md5.New, response), ch.nonce, clientChallenge), clientChallenge...)
	}

	base := sum(hmac.New(md5.New, response), proof)
	key, exchanged := base, []byte(nil)
	if ch.flags&keyExchange != 0 {
		key = make([]byte, 16)
		rand.Read(key)
		exchanged = make([]byte, 16)
		cipher(base).XORKeyStream(exchanged, key)
	}

	m := newMessage(3, 88)
	m.field(12, lm)
	m.field(20, append(proof, temp...))
	m.field(28, encode(domain))
	m.field(36, encode(user))
	m.field(44, encode(c.Workstation))
	m.field(52, exchanged)
	binary.LittleEndian.PutUint32(m.b[60:], ch.flags&wanted)
	copy(m.b[64:], windows10)
	if hasMIC {
		copy(m.b[72:], sum(hmac.New(md5.New, key), c.negotiate, message, m.b))
	}
	return m.b, newSession(key, ch.flags&keyExchange != 0), nil
}

// challenge is what a server answers to Negotiate.
type challenge struct {
	flags uint32
	nonce []byte
	info  []attribute
}

type attribute struct {
	id    uint16
	value []byte
}

var errChallenge = errors.New("the server's NTLM challenge can't be read")

func parse(b []byte) (*challenge, error) {
	if len(b) < 48 || !bytes.HasPrefix(b, magic) || binary.LittleEndian.Uint32(b[8:]) != 2 {
		return nil, errChallenge
	}
	ch := &challenge{flags: binary.LittleEndian.Uint32(b[20:]), nonce: b[24:32]}
	size, offset := int(binary.LittleEndian.Uint16(b[40:])), binary.LittleEndian.Uint32(b[44:])
	if uint64(offset)+uint64(size) > uint64(len(b)) {
		return nil, errChallenge
	}
	for info := b[offset:][:size]; len(info) > 0; {
		if len(info) < 4 {
			return nil, errChallenge
		}
		id, n := binary.LittleEndian.Uint16(info), int(binary.LittleEndian.Uint16(info[2:]))
		if id == avEnd {
			break
		}
		if info = info[4:]; len(info) < n {
			return nil, errChallenge
		}
		ch.info = append(ch.info, attribute{id, info[:n]})
		info = info[n:]
	}
	return ch, nil
}

// answerInfo is the server's list of attributes with ours, and the time to use. A server that tells its time wants the
// messages' integrity code.
func (ch *challenge) answerInfo(target string, binding []byte) (list, now []byte, hasMIC bool) {
	flags := uint32(0)
	add := func(id uint16, value []byte) {
		list = binary.LittleEndian.AppendUint16(list, id)
		list = binary.LittleEndian.AppendUint16(list, uint16(len(value)))
		list = append(list, value...)
	}
	for _, a := range ch.info {
		switch a.id {
		case avFlags:
			if len(a.value) == 4 {
				flags = binary.LittleEndian.Uint32(a.value)
			}
			continue
		case avTimestamp:
			if len(a.value) == 8 {
				now, hasMIC = a.value, true
			}
		case avTarget, avBinding:
			continue
		}
		add(a.id, a.value)
	}
	if hasMIC {
		flags |= 2
	}
	if flags != 0 {
		add(avFlags, binary.LittleEndian.AppendUint32(nil, flags))
	}
	if binding == nil {
		binding = make([]byte, 16)
	}
	add(avBinding, binding)
	add(avTarget, encode(target))
	add(avEnd, nil)
	if now == nil {
		now = binary.LittleEndian.AppendUint64(nil, uint64(time.Now().UnixNano()/100+116444736000000000))
	}
	return list, now, hasMIC
}

// message is written with its fixed part first.
type message struct{ b []byte }

func newMessage(kind uint32, size int) *message {
	m := &message{make([]byte, size)}
	copy(m.b, magic)
	binary.LittleEndian.PutUint32(m.b[8:], kind)
	return m
}

func (m *message) field(at int, value []byte) {
	binary.LittleEndian.PutUint16(m.b[at:], uint16(len(value)))
	binary.LittleEndian.PutUint16(m.b[at+2:], uint16(len(value)))
	binary.LittleEndian.PutUint32(m.b[at+4:], uint32(len(m.b)))
	m.b = append(m.b, value...)
}

func encode(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func sum(h interface {
	Write([]byte) (int, error)
	Sum([]byte) []byte
}, parts ...[]byte) []byte {
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

func cipher(key []byte) *rc4.Cipher {
	c, err := rc4.NewCipher(key)
	if err != nil {
		panic(err) // all keys here have 16 bytes
	}
	return c
}

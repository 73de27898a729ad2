package winrm

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/rc4"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"strings"
	"time"
	"unicode/utf16"

	"golang.org/x/crypto/md4" //lint:ignore SA1019 NTLM is made of it
)

// Flags of [MS-NLMP] 2.2.2.5.
const (
	ntlmUnicode     = 1 << 0
	ntlmTarget      = 1 << 2
	ntlmSign        = 1 << 4
	ntlmSeal        = 1 << 5
	ntlmNTLM        = 1 << 9
	ntlmAlways      = 1 << 15
	ntlmServer      = 1 << 17
	ntlmExtended    = 1 << 19
	ntlmTargetInfo  = 1 << 23
	ntlmVersion     = 1 << 25
	ntlm128         = 1 << 29
	ntlmKeyExchange = 1 << 30
	ntlm56          = 1 << 31
)

// Attributes of [MS-NLMP] 2.2.2.1.
const (
	avEnd = iota
	avComputer
	avDomain
	avDNSComputer
	avDNSDomain
	avDNSTree
	avFlags
	avTimestamp
	avSingleHost
	avTarget
	avBindings
)

// ntlm is the server's side of one NTLMv2 exchange ([MS-NLMP] 3.2).
type ntlm struct {
	hostname   string
	passwordOf func(name string) (string, bool)
	bindings   []byte // MD5 of the channel bindings, nil outside TLS
	needCBT    bool

	negotiate, challenge []byte
	nonce                [8]byte
	name                 string
	flags                uint32
	in, out              ntlmDirection
}

// ntlmDirection seals what goes one way.
type ntlmDirection struct {
	sealKey, signKey []byte
	stream           *rc4.Cipher
	seq              uint32
}

var errNTLM = errors.New("ntlm: malformed message")

func (n *ntlm) accept(token []byte) (reply []byte, done bool, err error) {
	if len(token) < 16 || !bytes.HasPrefix(token, []byte("NTLMSSP\x00")) {
		return nil, false, errNTLM
	}
	switch binary.LittleEndian.Uint32(token[8:]) {
	case 1:
		if n.negotiate != nil {
			return nil, false, errors.New("ntlm: a second negotiate message")
		}
		n.negotiate = bytes.Clone(token)
		n.challenge = n.makeChallenge(binary.LittleEndian.Uint32(token[12:]))
		return n.challenge, false, nil
	case 3:
		if n.challenge == nil {
			return nil, false, errors.New("ntlm: an authenticate message before the challenge, or on another connection")
		}
		return nil, true, n.authenticate(token)
	}
	return nil, false, errNTLM
}

func (n *ntlm) user() string { return n.name }

func (n *ntlm) makeChallenge(asked uint32) []byte {
	rand.Read(n.nonce[:])
	flags := asked&(ntlmUnicode|ntlmSign|ntlmSeal|ntlmExtended|ntlm128|ntlm56|ntlmKeyExchange|ntlmAlways) |
		ntlmUnicode | ntlmTarget | ntlmNTLM | ntlmServer | ntlmTargetInfo | ntlmVersion
	target := encodeUTF16(n.hostname)
	var info []byte
	av := func(id uint16, value []byte) {
		info = binary.LittleEndian.AppendUint16(info, id)
		info = binary.LittleEndian.AppendUint16(info, uint16(len(value)))
		info = append(info, value...)
	}
	av(avDomain, target)
	av(avComputer, target)
	av(avDNSDomain, encodeUTF16(strings.ToLower(n.hostname)))
	av(avDNSComputer, encodeUTF16(strings.ToLower(n.hostname)))
	// Its presence is what makes a client send a MIC.
	av(avTimestamp, binary.LittleEndian.AppendUint64(nil, uint64(time.Now().UnixNano()/100)+116444736000000000))
	av(avEnd, nil)

	const fixed = 56
	b := append([]byte("NTLMSSP\x00"), 2, 0, 0, 0)
	field := func(size, offset int) {
		b = binary.LittleEndian.AppendUint16(b, uint16(size))
		b = binary.LittleEndian.AppendUint16(b, uint16(size))
		b = binary.LittleEndian.AppendUint32(b, uint32(offset))
	}
	field(len(target), fixed)
	b = binary.LittleEndian.AppendUint32(b, flags)
	b = append(b, n.nonce[:]...)
	b = append(b, make([]byte, 8)...)
	field(len(info), fixed+len(target))
	b = append(b, 10, 0, 0x63, 0x45, 0, 0, 0, 15) // Windows 10.0.17763, NTLM revision 15
	return append(append(b, target...), info...)
}

func (n *ntlm) authenticate(token []byte) error {
	if len(token) < 72 {
		return errNTLM
	}
	var bad bool
	first := len(token)
	field := func(at int) []byte {
		size, offset := int(binary.LittleEndian.Uint16(token[at:])), int(binary.LittleEndian.Uint32(token[at+4:]))
		if offset < 64 && size > 0 || offset+size > len(token) || offset < 0 {
			bad = true
			return nil
		}
		if size > 0 {
			first = min(first, offset)
		}
		return token[offset : offset+size]
	}
	nt, domain, user, key := field(20), field(28), field(36), field(52)
	field(12)
	field(44)
	if bad || len(nt) < 16+28+4 {
		return errors.New("ntlm: no NTLMv2 response") // NTLMv1's has 24 bytes
	}
	n.flags = binary.LittleEndian.Uint32(token[60:])
	name := decodeUTF16(user)
	password, ok := n.passwordOf(name)
	hash := md4.New()
	hash.Write(encodeUTF16(password))
	ntowf := hmacMD5(hash.Sum(nil), encodeUTF16(strings.ToUpper(name)), domain)
	proof, blob := nt[:16], nt[16:]
	if subtle.ConstantTimeCompare(proof, hmacMD5(ntowf, n.nonce[:], blob)) != 1 || !ok {
		return errors.New("ntlm: wrong user or password")
	}
	session := hmacMD5(ntowf, proof)
	if n.flags&ntlmKeyExchange != 0 {
		if len(key) != 16 {
			return errNTLM
		}
		c, _ := rc4.NewCipher(session)
		session = make([]byte, 16)
		c.XORKeyStream(session, key)
	}
	if err := n.checkAttributes(blob[28:], token, session, first); err != nil {
		return err
	}
	n.name = name
	n.in = newNTLMDirection(session, "client-to-server", n.flags)
	n.out = newNTLMDirection(session, "server-to-client", n.flags)
	return nil
}

// checkAttributes verifies the MIC and the channel bindings that the client's attributes promise.
func (n *ntlm) checkAttributes(info, token, session []byte, first int) error {
	var mic bool
	var bindings []byte
	for len(info) >= 4 {
		id, size := binary.LittleEndian.Uint16(info), int(binary.LittleEndian.Uint16(info[2:]))
		if 4+size > len(info) || id == avEnd {
			break
		}
		value := info[4 : 4+size]
		switch {
		case id == avFlags && size == 4:
			mic = binary.LittleEndian.Uint32(value)&2 != 0
		case id == avBindings:
			bindings = value
		}
		info = info[4+size:]
	}
	if mic {
		if first < 88 {
			return errors.New("ntlm: a MIC is promised and missing")
		}
		clear := bytes.Clone(token)
		copy(clear[72:88], make([]byte, 16))
		if !hmac.Equal(token[72:88], hmacMD5(session, n.negotiate, n.challenge, clear)) {
			return errors.New("ntlm: wrong MIC")
		}
	}
	return checkBindings(bindings, n.bindings, n.needCBT)
}

// checkBindings compares the MD5 of the client's channel bindings with the connection's. None, or zeros, stands for
// "not bound", which Windows accepts by default (CbtHardeningLevel Relaxed).
func checkBindings(client, own []byte, needed bool) error {
	if own == nil {
		return nil
	}
	if len(client) == 0 || bytes.Equal(client, make([]byte, len(client))) {
		if needed {
			return errors.New("no channel bindings")
		}
		return nil
	}
	if !bytes.Equal(client, own) {
		return errors.New("channel bindings of another connection")
	}
	return nil
}

func newNTLMDirection(session []byte, way string, flags uint32) ntlmDirection {
	key := func(what string) []byte {
		k := session
		if what == "sealing" {
			switch {
			case flags&ntlm128 != 0:
			case flags&ntlm56 != 0:
				k = k[:7]
			default:
				k = k[:5]
			}
		}
		sum := md5.Sum(append(bytes.Clone(k), "session key to "+way+" "+what+" key magic constant\x00"...))
		return sum[:]
	}
	d := ntlmDirection{sealKey: key("sealing"), signKey: key("signing")}
	d.reset()
	return d
}

// reset begins the key stream anew, as [MS-SPNG] 3.3.5.1 has it after the mechListMIC. The sequence goes on.
func (d *ntlmDirection) reset() { d.stream, _ = rc4.NewCipher(d.sealKey) }

// mac signs a message, and moves the sequence and, with a key exchange, the key stream on.
func (d *ntlmDirection) mac(message []byte, flags uint32) []byte {
	seq := binary.LittleEndian.AppendUint32(nil, d.seq)
	sum := hmacMD5(d.signKey, seq, message)[:8]
	if flags&ntlmKeyExchange != 0 {
		d.stream.XORKeyStream(sum, sum)
	}
	d.seq++
	return append(append([]byte{1, 0, 0, 0}, sum...), seq...)
}

// sealable reports why the context can't seal, if it can't.
func (n *ntlm) sealable() error {
	if n.flags&ntlmSeal == 0 || n.flags&ntlmExtended == 0 {
		return errors.New("ntlm: sealing was not negotiated")
	}
	return nil
}

func (n *ntlm) seal(message []byte) (signature, sealed []byte, err error) {
	if err := n.sealable(); err != nil {
		return nil, nil, err
	}
	sealed = make([]byte, len(message))
	n.out.stream.XORKeyStream(sealed, message)
	return n.out.mac(message, n.flags), sealed, nil
}

func (n *ntlm) unseal(signature, sealed []byte) ([]byte, error) {
	if err := n.sealable(); err != nil {
		return nil, err
	}
	message := make([]byte, len(sealed))
	n.in.stream.XORKeyStream(message, sealed)
	if !hmac.Equal(signature, n.in.mac(message, n.flags)) {
		return nil, errors.New("ntlm: wrong signature")
	}
	return message, nil
}

// verifyMIC and makeMIC are SPNEGO's, over the list of mechanisms.
func (n *ntlm) verifyMIC(list, mic []byte) error {
	defer n.in.reset()
	if !hmac.Equal(mic, n.in.mac(list, n.flags)) {
		return errors.New("ntlm: wrong mechListMIC")
	}
	return nil
}

func (n *ntlm) makeMIC(list []byte) ([]byte, error) {
	defer n.out.reset()
	return n.out.mac(list, n.flags), nil
}

func hmacMD5(key []byte, parts ...[]byte) []byte {
	h := hmac.New(md5.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

func encodeUTF16(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func decodeUTF16(b []byte) string {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(u))
}

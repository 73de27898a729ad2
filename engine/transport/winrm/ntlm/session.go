package ntlm

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rc4"
	"encoding/binary"
	"errors"
)

// Session seals what is said after the login (MS-NLMP, 3.4). The messages of a direction depend on those before: it is for
// one connection, and one goroutine at a time.
type Session struct {
	out, in direction
}

type direction struct {
	sign        []byte
	cipher      *rc4.Cipher
	number      uint32
	keyExchange bool
}

func newSession(key []byte, keyExchange bool) *Session {
	side := func(name string) direction {
		return direction{
			sign:        sum(md5.New(), key, []byte("session key to "+name+" signing key magic constant\x00")),
			cipher:      cipher(sum(md5.New(), key, []byte("session key to "+name+" sealing key magic constant\x00"))),
			keyExchange: keyExchange,
		}
	}
	return &Session{out: side("client-to-server"), in: side("server-to-client")}
}

// Seal encrypts a message and signs it.
func (s *Session) Seal(plain []byte) (signature, sealed []byte, err error) {
	sealed = make([]byte, len(plain))
	s.out.cipher.XORKeyStream(sealed, plain)
	return s.out.signature(plain), sealed, nil
}

// Unseal is what Seal was at the other end.
func (s *Session) Unseal(signature, sealed []byte) ([]byte, error) {
	plain := make([]byte, len(sealed))
	s.in.cipher.XORKeyStream(plain, sealed)
	if !hmac.Equal(signature, s.in.signature(plain)) {
		return nil, errors.New("a sealed message was altered on its way, or is out of order")
	}
	return plain, nil
}

func (d *direction) signature(plain []byte) []byte {
	number := binary.LittleEndian.AppendUint32(nil, d.number)
	d.number++
	check := sum(hmac.New(md5.New, d.sign), number, plain)[:8]
	if d.keyExchange {
		d.cipher.XORKeyStream(check, check)
	}
	return append(append([]byte{1, 0, 0, 0}, check...), number...)
}

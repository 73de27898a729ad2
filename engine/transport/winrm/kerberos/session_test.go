package kerberos

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jcmturner/gofork/encoding/asn1"
	"github.com/jcmturner/gokrb5/v8/asn1tools"
	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/gssapi"
	"github.com/jcmturner/gokrb5/v8/iana/asnAppTag"
	"github.com/jcmturner/gokrb5/v8/iana/etypeID"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/spnego"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/fitout-dev/fitout/modules/fuzzing"
)

func newKey(kind int32, fill byte) types.EncryptionKey {
	e, _ := crypto.GetEtype(kind)
	return types.EncryptionKey{KeyType: kind, KeyValue: bytes.Repeat([]byte{fill}, e.GetKeyByteSize())}
}

// newSession is one whose request is on its way.
func newSession(kind int32) *Session {
	e, _ := crypto.GetEtype(kind)
	return &Session{key: newKey(kind, 1), etype: e, sealing: newKey(kind, 2), sent: time.Unix(1_790_000_000, 0).UTC(), cusec: 42, outSeq: 7}
}

// answer is the service's, as it would prove itself with these.
func answer(t testing.TB, key types.EncryptionKey, part messages.EncAPRepPart, raw bool) []byte {
	t.Helper()
	must := func(b []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := asn1tools.AddASNAppTag(must(asn1.Marshal(part)), asnAppTag.EncAPRepPart)
	sealed, err := crypto.GetEncryptedData(b, key, keyusage.AP_REP_ENCPART, 0)
	if err != nil {
		t.Fatal(err)
	}
	b = asn1tools.AddASNAppTag(must(asn1.Marshal(messages.APRep{PVNO: 5, MsgType: 15, EncPart: sealed})), asnAppTag.APREP)
	oid := must(asn1.Marshal(gssapi.OIDKRB5.OID()))
	b = asn1tools.AddASNAppTag(append(append(oid, 2, 0), b...), 0)
	if raw {
		return b
	}
	return must((&spnego.NegTokenResp{SupportedMech: gssapi.OIDKRB5.OID(), ResponseToken: b}).Marshal())
}

// sealed is a message of the service, rotated as it likes.
func sealed(t testing.TB, s *Session, plain string, seq uint64, extra, rotation int) []byte {
	t.Helper()
	flags := byte(sentByAcceptor | isSealed)
	inner := append([]byte(plain), make([]byte, extra)...)
	inner = append(inner, header(flags, uint16(extra), 0, seq)...)
	_, b, err := s.etype.EncryptMessage(s.sealing.KeyValue, inner, keyusage.GSSAPI_ACCEPTOR_SEAL)
	if err != nil {
		t.Fatal(err)
	}
	r := rotation % len(b)
	b = append(bytes.Clone(b[len(b)-r:]), b[:len(b)-r]...)
	return append(header(flags, uint16(extra), uint16(rotation), seq), b...)
}

func TestSession(t *testing.T) {
	for _, kind := range []int32{etypeID.AES128_CTS_HMAC_SHA1_96, etypeID.AES256_CTS_HMAC_SHA1_96} {
		for _, raw := range []bool{true, false} {
			s := newSession(kind)
			if _, _, err := s.Seal([]byte("early")); err == nil {
				t.Error("something is sealed for a service that has not proven itself")
			}
			part := messages.EncAPRepPart{CTime: s.sent, Cusec: s.cusec, SequenceNumber: 100, Subkey: newKey(kind, 3)}
			if err := s.Accept(answer(t, s.key, part, raw)); err != nil {
				t.Fatal(err)
			}
			signature, b, err := s.Seal([]byte("hello"))
			if err != nil || len(b) != 5 {
				t.Fatalf("sealed into %d bytes, %v", len(b), err)
			}
			// RFC 4121, 4.2.6.2: read back by hand.
			token := append(signature, b...)
			if token[2] != isSealed|hasSubkey || binary.BigEndian.Uint64(token[8:]) != 7 {
				t.Errorf("header %x", token[:16])
			}
			r := int(binary.BigEndian.Uint16(token[6:]))
			body := append(bytes.Clone(token[16+r:]), token[16:16+r]...)
			plain, err := crypto.DecryptMessage(body, newKey(kind, 3), keyusage.GSSAPI_INITIATOR_SEAL)
			if err != nil || string(plain[:5]) != "hello" || !bytes.Equal(plain[5:], header(token[2], 0, 0, 7)) {
				t.Errorf("it holds %q, %v", plain, err)
			}
			for i, rotation := range []int{0, 28, 5000} {
				got, err := s.Unseal(nil, sealed(t, s, "world", uint64(100+i), i, rotation))
				if err != nil || string(got) != "world" {
					t.Errorf("rotated by %d: %q, %v", rotation, got, err)
				}
			}
			if _, err := s.Unseal(nil, sealed(t, s, "again", 102, 0, 0)); err == nil {
				t.Error("a message that was seen already was accepted")
			}
			altered := sealed(t, s, "world", 103, 0, 0)
			altered[20] ^= 1
			if _, err := s.Unseal(nil, altered); err == nil {
				t.Error("an altered message was accepted")
			}
		}
	}
}

// A service that can't prove itself gets nothing.
func TestImpostors(t *testing.T) {
	kind := int32(etypeID.AES256_CTS_HMAC_SHA1_96)
	good := messages.EncAPRepPart{CTime: newSession(kind).sent, Cusec: 42, SequenceNumber: 1}
	older, weak := good, good
	older.Cusec = 41
	weak.Subkey = types.EncryptionKey{KeyType: etypeID.RC4_HMAC, KeyValue: make([]byte, 16)}
	for name, b := range map[string][]byte{
		"another key":     answer(t, newKey(kind, 9), good, false),
		"an older answer": answer(t, newSession(kind).key, older, false),
		"a weak key":      answer(t, newSession(kind).key, weak, false),
		"nothing":         nil,
		"our own request": answer(t, newSession(kind).key, good, false)[:20],
	} {
		s := newSession(kind)
		err := s.Accept(b)
		if _, ok := errors.AsType[*Error](err); !ok || s.proven {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.Unseal(nil, sealed(t, s, "hello", 0, 0, 0)); err == nil {
			t.Errorf("%s: and is listened to", name)
		}
	}
}

func TestNoCredentials(t *testing.T) {
	_, err := Login(t.Context(), Options{User: "u@EXAMPLE.INVALID", Cache: t.TempDir() + "/none"})
	if e, ok := errors.AsType[*Error](err); !ok || e.Reason != NoCredentials {
		t.Errorf("got %v", err)
	}
	_, err = Login(t.Context(), Options{User: "u@EXAMPLE.INVALID", Keytab: t.TempDir() + "/none"})
	if e, ok := errors.AsType[*Error](err); !ok || e.Reason != NoCredentials || !strings.Contains(err.Error(), "none") {
		t.Errorf("got %v", err)
	}
}

func FuzzAccept(f *testing.F) {
	kind := int32(etypeID.AES256_CTS_HMAC_SHA1_96)
	s := newSession(kind)
	part := messages.EncAPRepPart{CTime: s.sent, Cusec: s.cusec, SequenceNumber: 100, Subkey: newKey(kind, 3)}
	f.Add(answer(f, s.key, part, true))
	f.Add(answer(f, s.key, part, false))
	f.Add([]byte{0xa1, 7, 0x30, 5, 0xa0, 3, 0x0a, 1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > fuzzing.Most {
			return
		}
		fuzzing.Soon(func() {
			s := newSession(kind)
			if err := s.Accept(b); (err == nil) != s.proven {
				t.Errorf("proven is %v after %v", s.proven, err)
			}
		})
	})
}

func FuzzUnseal(f *testing.F) {
	kind := int32(etypeID.AES256_CTS_HMAC_SHA1_96)
	f.Add(sealed(f, newSession(kind), "hello", 0, 0, 28))
	f.Add(sealed(f, newSession(kind), "", 0, 3, 65535))
	f.Add(header(3, 65535, 65535, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > fuzzing.Most {
			return
		}
		fuzzing.Soon(func() {
			s := newSession(kind)
			s.proven = true
			if plain, err := s.Unseal(nil, b); err == nil && len(plain) > len(b) {
				t.Errorf("%d bytes of %d", len(plain), len(b))
			}
		})
	})
}

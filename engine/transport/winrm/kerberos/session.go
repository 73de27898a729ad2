package kerberos

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jcmturner/gofork/encoding/asn1"
	"github.com/jcmturner/gokrb5/v8/asn1tools"
	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/crypto/etype"
	"github.com/jcmturner/gokrb5/v8/gssapi"
	"github.com/jcmturner/gokrb5/v8/iana/chksumtype"
	"github.com/jcmturner/gokrb5/v8/iana/flags"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/spnego"
	"github.com/jcmturner/gokrb5/v8/types"
)

// Session is a login to one service, on one connection. It is for one goroutine at a time.
type Session struct {
	token []byte
	key   types.EncryptionKey // of the ticket
	sent  time.Time           // what the service has to repeat
	cusec int

	etype          etype.EType
	sealing        types.EncryptionKey
	acceptorSubkey bool
	outSeq, inSeq  uint64
	proven         bool
}

// Session prepares a login to a service, "HTTP/host". binding is the MD5 of the TLS channel's bindings, or nil.
func (c *Client) Session(ctx context.Context, service string, binding []byte) (*Session, error) {
	ticket, key, err := c.ticket(ctx, service)
	if err != nil {
		return nil, err
	}
	s := &Session{key: key}
	if s.etype, err = crypto.GetEtype(key.KeyType); err != nil {
		return nil, &Error{Other, err}
	}
	auth, err := types.NewAuthenticator(c.krb.Credentials.Domain(), c.krb.Credentials.CName())
	if err != nil {
		return nil, &Error{Other, err}
	}
	if err := auth.GenerateSeqNumberAndSubKey(key.KeyType, s.etype.GetKeyByteSize()); err != nil {
		return nil, &Error{Other, err}
	}
	auth.Cksum = types.Checksum{CksumType: chksumtype.GSSAPI, Checksum: checksum(binding)}
	s.sent, s.cusec, s.outSeq, s.sealing = auth.CTime, auth.Cusec, uint64(auth.SeqNumber), auth.SubKey
	request, err := messages.NewAPReq(ticket, key, auth)
	if err != nil {
		return nil, &Error{Other, err}
	}
	types.SetFlag(&request.APOptions, flags.APOptionMutualRequired)
	b, err := request.Marshal()
	if err != nil {
		return nil, &Error{Other, err}
	}
	oid, err := asn1.Marshal(gssapi.OIDKRB5.OID())
	if err != nil {
		return nil, &Error{Other, err}
	}
	inner := asn1tools.AddASNAppTag(append(append(oid, 1, 0), b...), 0)
	outer := spnego.SPNEGOToken{Init: true, NegTokenInit: spnego.NegTokenInit{MechTypes: mechanisms, MechTokenBytes: inner}}
	if s.token, err = outer.Marshal(); err != nil {
		return nil, &Error{Other, err}
	}
	return s, nil
}

var mechanisms = []asn1.ObjectIdentifier{gssapi.OIDKRB5.OID()}

// checksum is what GSS-API puts into the authenticator (RFC 4121, 4.1.1).
func checksum(binding []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 16)
	if binding == nil {
		binding = make([]byte, 16)
	}
	b = append(b, binding...)
	return binary.LittleEndian.AppendUint32(b, gssapi.ContextFlagMutual|gssapi.ContextFlagReplay|gssapi.ContextFlagSequence|gssapi.ContextFlagConf|gssapi.ContextFlagInteg)
}

// Token goes to the service.
func (s *Session) Token() []byte { return s.token }

// Accept reads the service's answer, by which it proves who it is.
func (s *Session) Accept(answer []byte) error {
	err := guarded(func() error { return s.accept(answer) })
	if err != nil {
		return explain("login", err)
	}
	return nil
}

func (s *Session) accept(answer []byte) error {
	if len(answer) > 0 && answer[0] == 0xa1 {
		var n spnego.NegTokenResp
		if err := n.Unmarshal(answer); err != nil {
			return err
		}
		if answer = n.ResponseToken; len(answer) == 0 {
			return fmt.Errorf("the service refuses (state %d)", n.NegState)
		}
	}
	var t spnego.KRB5Token
	if err := t.Unmarshal(answer); err != nil {
		return err
	}
	switch {
	case t.IsKRBError():
		return t.KRBError
	case !t.IsAPRep():
		return errors.New("the service did not prove who it is")
	}
	b, err := s.decrypt(t.APRep.EncPart.Cipher, s.key, keyusage.AP_REP_ENCPART)
	if err != nil {
		return fmt.Errorf("the service is not who it should be: %w", err)
	}
	var part messages.EncAPRepPart
	if err := part.Unmarshal(b); err != nil {
		return err
	}
	if part.CTime.Unix() != s.sent.Unix() || part.Cusec != s.cusec {
		return errors.New("the service answers an older login: somebody may be in between")
	}
	if len(part.Subkey.KeyValue) > 0 {
		e, err := crypto.GetEtype(part.Subkey.KeyType)
		if err != nil || !isAES(part.Subkey.KeyType) || len(part.Subkey.KeyValue) != e.GetKeyByteSize() {
			return fmt.Errorf("the service wants a key of type %d, and only AES is used", part.Subkey.KeyType)
		}
		s.etype, s.sealing, s.acceptorSubkey = e, part.Subkey, true
	}
	s.inSeq = uint64(uint32(part.SequenceNumber))
	s.proven = true
	return nil
}

// decrypt is crypto.DecryptMessage for what may be too short for it.
func (s *Session) decrypt(b []byte, key types.EncryptionKey, usage uint32) ([]byte, error) {
	e, err := crypto.GetEtype(key.KeyType)
	if err != nil {
		return nil, err
	}
	if len(b) < e.GetConfounderByteSize()+e.GetHMACBitLength()/8 {
		return nil, errors.New("too short")
	}
	return e.DecryptMessage(key.KeyValue, b, usage)
}

const (
	headerSize     = 16
	sentByAcceptor = 1
	isSealed       = 2
	hasSubkey      = 4
)

func header(flags byte, extra, rotation uint16, seq uint64) []byte {
	h := []byte{5, 4, flags, 0xff}
	h = binary.BigEndian.AppendUint16(h, extra)
	h = binary.BigEndian.AppendUint16(h, rotation)
	return binary.BigEndian.AppendUint64(h, seq)
}

// Seal encrypts a message (RFC 4121, 4.2.4). What comes before the message, and what comes after it, is the signature: the
// token is rotated so far that they stand together, as Windows expects it.
func (s *Session) Seal(plain []byte) (signature, sealed []byte, err error) {
	if !s.proven {
		return nil, nil, errors.New("kerberos: the service has not proven who it is")
	}
	flags := byte(isSealed)
	if s.acceptorSubkey {
		flags |= hasSubkey
	}
	_, b, err := s.etype.EncryptMessage(s.sealing.KeyValue, append(bytes.Clone(plain), header(flags, 0, 0, s.outSeq)...), keyusage.GSSAPI_INITIATOR_SEAL)
	if err != nil {
		return nil, nil, err
	}
	after := headerSize + s.etype.GetHMACBitLength()/8
	before := s.etype.GetConfounderByteSize()
	signature = header(flags, 0, uint16(after), s.outSeq)
	signature = append(signature, b[len(b)-after:]...)
	signature = append(signature, b[:before]...)
	s.outSeq++
	return signature, b[before : len(b)-after], nil
}

// Unseal is what Seal was at the other end.
func (s *Session) Unseal(signature, sealed []byte) ([]byte, error) {
	var plain []byte
	err := guarded(func() (err error) {
		plain, err = s.unseal(append(bytes.Clone(signature), sealed...))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("kerberos: a sealed message can't be read: %w", err)
	}
	return plain, nil
}

func (s *Session) unseal(token []byte) ([]byte, error) {
	if !s.proven {
		return nil, errors.New("the service has not proven who it is")
	}
	if len(token) < headerSize || token[0] != 5 || token[1] != 4 || token[2]&sentByAcceptor == 0 || token[2]&isSealed == 0 {
		return nil, errors.New("it is not sealed")
	}
	head, body := token[:headerSize], token[headerSize:]
	extra, rotation := int(binary.BigEndian.Uint16(head[4:])), int(binary.BigEndian.Uint16(head[6:]))
	if seq := binary.BigEndian.Uint64(head[8:]); seq != s.inSeq {
		return nil, errors.New("it is out of order")
	}
	if len(body) > 0 {
		rotation %= len(body)
		body = append(bytes.Clone(body[rotation:]), body[:rotation]...)
	}
	plain, err := s.decrypt(body, s.sealing, keyusage.GSSAPI_ACCEPTOR_SEAL)
	if err != nil {
		return nil, err
	}
	n := len(plain) - headerSize - extra
	if n < 0 || !bytes.Equal(plain[len(plain)-headerSize:], header(head[2], uint16(extra), 0, s.inSeq)) {
		return nil, errors.New("its header was altered")
	}
	s.inSeq++
	return plain[:n], nil
}

package winrm

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/jcmturner/gokrb5/v8/asn1tools"
	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/crypto/etype"
	"github.com/jcmturner/gokrb5/v8/iana/asnAppTag"
	"github.com/jcmturner/gokrb5/v8/iana/chksumtype"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/service"
	"github.com/jcmturner/gokrb5/v8/types"
)

type keytabKeys struct{ settings *service.Settings }

func loadKeytab(b []byte) (*keytabKeys, error) {
	k := keytab.New()
	if err := k.Unmarshal(b); err != nil {
		return nil, fmt.Errorf("keytab: %w", err)
	}
	return &keytabKeys{service.NewSettings(k, service.DecodePAC(false))}, nil
}

// kerberos is the acceptor's side of one exchange (RFC 4121) and then of what is sealed.
type kerberos struct {
	keys     *keytabKeys
	bindings []byte
	needCBT  bool

	name          string
	kind          etype.EType
	key           types.EncryptionKey // the acceptor's subkey, as Windows has one
	inSeq, outSeq uint64
}

func newKerberos(keys *keytabKeys, bindings []byte, needCBT bool) mechanism {
	return &kerberos{keys: keys, bindings: bindings, needCBT: needCBT}
}

func (k *kerberos) user() string { return k.name }

// Token ids of RFC 4121, 4.1.
var idAPReq, idAPRep = []byte{1, 0}, []byte{2, 0}

func (k *kerberos) accept(token []byte) (reply []byte, done bool, err error) {
	if k.kind != nil {
		return nil, false, errors.New("kerberos: a second AP-REQ")
	}
	_, inner, err := unframe(token)
	if err != nil {
		return nil, false, err
	}
	inner, ok := bytes.CutPrefix(inner, idAPReq)
	if !ok {
		return nil, false, errors.New("kerberos: no AP-REQ")
	}
	var req messages.APReq
	if err := req.Unmarshal(inner); err != nil {
		return nil, false, err
	}
	valid, creds, err := service.VerifyAPREQ(&req, k.keys.settings)
	if err != nil || !valid {
		return nil, false, fmt.Errorf("kerberos: the ticket is refused: %w", err)
	}
	auth := req.Authenticator
	sum := auth.Cksum
	if sum.CksumType != chksumtype.GSSAPI || len(sum.Checksum) < 24 {
		return nil, false, errors.New("kerberos: the authenticator has no GSS-API checksum")
	}
	if err := checkBindings(sum.Checksum[4:20], k.bindings, k.needCBT); err != nil {
		return nil, false, err
	}
	session := req.Ticket.DecryptedEncPart.Key
	if k.kind, err = crypto.GetEtype(session.KeyType); err != nil {
		return nil, false, err
	}
	k.key = types.EncryptionKey{KeyType: session.KeyType, KeyValue: make([]byte, k.kind.GetKeyByteSize())}
	rand.Read(k.key.KeyValue)
	var start [4]byte
	rand.Read(start[:])
	start[0] &= 0x3f
	k.inSeq, k.outSeq = uint64(uint32(auth.SeqNumber)), uint64(binary.BigEndian.Uint32(start[:]))
	k.name = creds.UserName()
	rep, err := k.prove(auth, session)
	return rep, err == nil, err
}

// prove is the AP-REP, by which the service shows that it could read the ticket.
func (k *kerberos) prove(auth types.Authenticator, session types.EncryptionKey) ([]byte, error) {
	part, err := asn1.Marshal(messages.EncAPRepPart{CTime: auth.CTime, Cusec: auth.Cusec, Subkey: k.key, SequenceNumber: int64(k.outSeq)})
	if err != nil {
		return nil, err
	}
	sealed, err := crypto.GetEncryptedData(asn1tools.AddASNAppTag(part, asnAppTag.EncAPRepPart), session, keyusage.AP_REP_ENCPART, 0)
	if err != nil {
		return nil, err
	}
	const version, apRep = 5, 15
	b, err := asn1.Marshal(messages.APRep{PVNO: version, MsgType: apRep, EncPart: sealed})
	if err != nil {
		return nil, err
	}
	return frame(oidKerberos, append(bytes.Clone(idAPRep), asn1tools.AddASNAppTag(b, asnAppTag.APREP)...)), nil
}

// Flags of RFC 4121, 4.2.2.
const (
	flagAcceptor, flagSealed, flagSubkey = 1, 2, 4
	wrapHeader                           = 16
)

func (k *kerberos) header(flags byte, extra, rotation uint16, seq uint64) []byte {
	h := []byte{5, 4, flags, 0xff, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(h[4:], extra)
	binary.BigEndian.PutUint16(h[6:], rotation)
	return binary.BigEndian.AppendUint64(h, seq)
}

// seal makes a token that is rotated as Windows does it: its header, trailer and confounder stand before the message.
func (k *kerberos) seal(message []byte) (signature, sealed []byte, err error) {
	const flags = flagAcceptor | flagSealed | flagSubkey
	_, b, err := k.kind.EncryptMessage(k.key.KeyValue, append(bytes.Clone(message), k.header(flags, 0, 0, k.outSeq)...), keyusage.GSSAPI_ACCEPTOR_SEAL)
	if err != nil {
		return nil, nil, err
	}
	rotation := wrapHeader + k.kind.GetHMACBitLength()/8
	signature = append(k.header(flags, 0, uint16(rotation), k.outSeq), b[len(b)-rotation:]...)
	confounder := k.kind.GetConfounderByteSize()
	signature = append(signature, b[:confounder]...)
	k.outSeq++
	return signature, b[confounder : len(b)-rotation], nil
}

func (k *kerberos) unseal(signature, sealed []byte) ([]byte, error) {
	token := append(bytes.Clone(signature), sealed...)
	if len(token) < wrapHeader || token[0] != 5 || token[1] != 4 || token[2]&flagAcceptor != 0 || token[2]&flagSealed == 0 {
		return nil, errors.New("kerberos: no sealed token of the initiator")
	}
	if token[2]&flagSubkey == 0 {
		return nil, errors.New("kerberos: sealed by another key than the acceptor's")
	}
	extra, rotation := int(binary.BigEndian.Uint16(token[4:])), int(binary.BigEndian.Uint16(token[6:]))
	if binary.BigEndian.Uint64(token[8:]) != k.inSeq {
		return nil, errors.New("kerberos: out of order")
	}
	body := token[wrapHeader:]
	if len(body) < k.kind.GetConfounderByteSize()+k.kind.GetHMACBitLength()/8 {
		return nil, errors.New("kerberos: too short")
	}
	rotation %= len(body)
	body = append(bytes.Clone(body[rotation:]), body[:rotation]...)
	plain, err := k.kind.DecryptMessage(k.key.KeyValue, body, keyusage.GSSAPI_INITIATOR_SEAL)
	if err != nil {
		return nil, err
	}
	n := len(plain) - wrapHeader - extra
	if n < 0 || !bytes.Equal(plain[len(plain)-wrapHeader:], k.header(token[2], uint16(extra), 0, k.inSeq)) {
		return nil, errors.New("kerberos: its header was altered")
	}
	k.inSeq++
	return plain[:n], nil
}

// mic is RFC 4121, 4.2.6.1: over the list of mechanisms.
func (k *kerberos) mic(list []byte, flags byte, seq uint64, usage uint32) ([]byte, error) {
	h := append([]byte{4, 4, flags, 0xff, 0xff, 0xff, 0xff, 0xff}, binary.BigEndian.AppendUint64(nil, seq)...)
	sum, err := k.kind.GetChecksumHash(k.key.KeyValue, append(bytes.Clone(list), h...), usage)
	return append(h, sum...), err
}

func (k *kerberos) verifyMIC(list, mic []byte) error {
	if len(mic) < wrapHeader {
		return errors.New("kerberos: the mechListMIC is too short")
	}
	want, err := k.mic(list, mic[2], k.inSeq, keyusage.GSSAPI_INITIATOR_SIGN)
	if err != nil || !hmac.Equal(want, mic) {
		return errors.New("kerberos: wrong mechListMIC")
	}
	k.inSeq++
	return nil
}

func (k *kerberos) makeMIC(list []byte) ([]byte, error) {
	b, err := k.mic(list, flagAcceptor|flagSubkey, k.outSeq, keyusage.GSSAPI_ACCEPTOR_SIGN)
	k.outSeq++
	return b, err
}

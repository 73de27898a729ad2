package winrm

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"fmt"
)

// A mechanism authenticates a connection's client in one or more steps, and then seals.
type mechanism interface {
	accept(token []byte) (reply []byte, done bool, err error)
	user() string
	seal(message []byte) (signature, sealed []byte, err error)
	unseal(signature, sealed []byte) (message []byte, err error)
	verifyMIC(list, mic []byte) error
	makeMIC(list []byte) ([]byte, error)
}

var (
	oidSPNEGO   = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 2}
	oidNTLM     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 2, 10}
	oidKerberos = asn1.ObjectIdentifier{1, 2, 840, 113554, 1, 2, 2}
	oidMSKrb5   = asn1.ObjectIdentifier{1, 2, 840, 48018, 1, 2, 2} // Windows' own, older name of Kerberos
)

// States of a negotiation (RFC 4178 4.2.2).
const (
	acceptCompleted  = asn1.Enumerated(0)
	acceptIncomplete = asn1.Enumerated(1)
)

type negTokenInit struct {
	MechTypes   asn1.RawValue  `asn1:"explicit,tag:0"`
	ReqFlags    asn1.BitString `asn1:"explicit,optional,tag:1"`
	MechToken   []byte         `asn1:"explicit,optional,omitempty,tag:2"`
	MechListMIC []byte         `asn1:"explicit,optional,omitempty,tag:3"`
}

type negTokenResp struct {
	State         asn1.Enumerated       `asn1:"explicit,optional,default:-1,tag:0"`
	SupportedMech asn1.ObjectIdentifier `asn1:"explicit,optional,omitempty,tag:1"`
	ResponseToken []byte                `asn1:"explicit,optional,omitempty,tag:2"`
	MechListMIC   []byte                `asn1:"explicit,optional,omitempty,tag:3"`
}

// negotiation is one exchange under "Negotiate" or "Kerberos": SPNEGO, or a mechanism's own tokens without it.
type negotiation struct {
	choose func(asn1.ObjectIdentifier) mechanism // nil: not offered

	mech   mechanism
	chosen asn1.ObjectIdentifier
	spnego bool
	list   []byte // the client's MechTypeList as it came
	micDue bool   // the optimistic mechanism wasn't the one chosen, or the client sent a MIC
}

// step takes a client's token and returns the answer's.
func (n *negotiation) step(token []byte) (reply []byte, done bool, err error) {
	switch {
	case bytes.HasPrefix(token, []byte("NTLMSSP\x00")):
		return n.raw(oidNTLM, token)
	case len(token) > 0 && token[0] == 0x60:
		oid, inner, err := unframe(token)
		if err != nil {
			return nil, false, err
		}
		if oid.Equal(oidSPNEGO) {
			return n.initial(inner)
		}
		return n.raw(oid, token)
	case len(token) > 0 && token[0] == 0xa1 && n.spnego:
		return n.next(token)
	}
	return nil, false, errors.New("spnego: unknown token")
}

func (n *negotiation) raw(oid asn1.ObjectIdentifier, token []byte) ([]byte, bool, error) {
	if n.mech == nil {
		if n.mech = n.choose(oid); n.mech == nil {
			return nil, false, fmt.Errorf("mechanism %v is not offered", oid)
		}
	}
	return n.mech.accept(token)
}

// unframe takes a GSS-API initial token apart (RFC 2743 3.1).
func unframe(token []byte) (asn1.ObjectIdentifier, []byte, error) {
	var outer asn1.RawValue
	if _, err := asn1.Unmarshal(token, &outer); err != nil {
		return nil, nil, err
	}
	var oid asn1.ObjectIdentifier
	inner, err := asn1.Unmarshal(outer.Bytes, &oid)
	return oid, inner, err
}

// frame puts an initial token together.
func frame(oid asn1.ObjectIdentifier, inner []byte) []byte {
	o, _ := asn1.Marshal(oid)
	b, _ := asn1.Marshal(asn1.RawValue{Class: asn1.ClassApplication, IsCompound: true, Bytes: append(o, inner...)})
	return b
}

func (n *negotiation) initial(inner []byte) ([]byte, bool, error) {
	if n.spnego {
		return nil, false, errors.New("spnego: a second initial token")
	}
	n.spnego = true
	var t negTokenInit
	if _, err := asn1.UnmarshalWithParams(inner, &t, "explicit,tag:0"); err != nil {
		return nil, false, fmt.Errorf("spnego: %w", err)
	}
	var list []asn1.ObjectIdentifier
	n.list = t.MechTypes.FullBytes
	if t.MechTypes.Class == asn1.ClassContextSpecific { // the raw value holds the explicit tag too
		n.list = t.MechTypes.Bytes
	}
	if _, err := asn1.Unmarshal(n.list, &list); err != nil {
		return nil, false, fmt.Errorf("spnego: %w", err)
	}
	for i, oid := range list {
		if n.mech = n.choose(oid); n.mech == nil {
			continue
		}
		n.chosen = oid
		if i > 0 || len(t.MechToken) == 0 { // the token, if any, is for the first one
			n.micDue = i > 0
			return n.answer(negTokenResp{State: acceptIncomplete, SupportedMech: oid}), false, nil
		}
		return n.advance(t.MechToken, t.MechListMIC, true)
	}
	return nil, false, errors.New("spnego: no mechanism in common")
}

func (n *negotiation) next(token []byte) ([]byte, bool, error) {
	var t negTokenResp
	if _, err := asn1.UnmarshalWithParams(token, &t, "explicit,tag:1"); err != nil {
		return nil, false, fmt.Errorf("spnego: %w", err)
	}
	return n.advance(t.ResponseToken, t.MechListMIC, false)
}

func (n *negotiation) advance(token, mic []byte, first bool) ([]byte, bool, error) {
	out, done, err := n.mech.accept(token)
	if err != nil {
		return nil, false, err
	}
	r := negTokenResp{State: acceptIncomplete, ResponseToken: out}
	if first {
		r.SupportedMech = n.chosen
	}
	if !done {
		return n.answer(r), false, nil
	}
	if len(mic) > 0 {
		if err := n.mech.verifyMIC(n.list, mic); err != nil {
			return nil, false, err
		}
	} else if n.micDue {
		return nil, false, errors.New("spnego: the mechListMIC is missing")
	}
	if len(mic) > 0 {
		if r.MechListMIC, err = n.mech.makeMIC(n.list); err != nil {
			return nil, false, err
		}
	}
	r.State = acceptCompleted
	return n.answer(r), true, nil
}

func (n *negotiation) answer(r negTokenResp) []byte {
	b, err := asn1.MarshalWithParams(r, "explicit,tag:1")
	if err != nil {
		panic(err) // the struct is ours
	}
	return b
}

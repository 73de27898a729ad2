// Package security has the resource types for what a machine trusts and how it is protected.
package security

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
)

// Certificate is a certificate in one of the stores of Windows, with its private key where that is given. A certificate that
// was replaced by a newer one of the same name stays: declare the old one with state: absent and its thumbprint.
type Certificate struct {
	// A name to tell it by.
	Name string `json:"name" fit:"key" title:"Name" example:"company-ca"`
	// The store: My for certificates with a private key, CA for authorities between, Root for trusted authorities,
	// TrustedPublisher, TrustedPeople, or one of your own. Root was never seen to be kept on a real system: Wine, on which this
	// is tested, keeps those only as long as a program runs.
	Store string `json:"store" fit:"behaviour" title:"Store" pattern:"^[A-Za-z0-9 _.-]+$" example:"CA"`
	// Whose store: the machine's, or that of the user whom fitout runs as.
	Location string `json:"location,omitzero" fit:"behaviour" title:"Location" enum:"machine,user" default:"machine"`
	// The certificate as PEM text, or as base64 of its bytes.
	Certificate *string `json:"certificate,omitzero" fit:"managed" title:"Certificate" example:"-----BEGIN CERTIFICATE-----..."`
	// The certificate and its private key as base64 of a PFX file (PKCS #12), as a rule a secret. Of what else the file holds
	// nothing is taken. A key can't be exported again.
	PFX *string `json:"pfx,omitzero" fit:"managed,secret" experimental:"windows" title:"PFX" example:"${secrets.vpnCertificate}"`
	// The PFX file's password.
	Password string `json:"password,omitzero" fit:"behaviour,secret" title:"Password" example:"${secrets.vpnPassword}"`
	// The certificate's SHA-1 as Windows shows it: what to remove, with state: absent.
	Thumbprint string `json:"thumbprint,omitzero" fit:"behaviour" title:"Thumbprint" example:"a43489159a520f0d93d032ccaf37e7fe20a8b419"`
	// The name that Windows shows beside it. Wine, on which this is tested, forgets it.
	FriendlyName *string `json:"friendlyName,omitzero" fit:"managed" experimental:"windows" title:"Friendly name" example:"Example S.A."`
	// Who may use the private key beside SYSTEM and Administrators, which keep full rights: NETWORK SERVICE, an application pool
	// as IIS AppPool\NAME, a user. The entries of those who are named become as listed; what others have stays unless
	// keyAccessExact is true. Only a key of the machine can be used by others. Rights to keys of CNG were never seen to be set on
	// a real system: Wine, on which this is tested, has keys of CryptoAPI alone.
	KeyAccess []KeyAccess `json:"keyAccess,omitzero" fit:"managed" title:"Private key access" example:"[{who: NETWORK SERVICE, rights: read}]"`
	// Nobody but those listed under keyAccess, SYSTEM and Administrators may do anything with the private key: other entries go.
	KeyAccessExact bool   `json:"keyAccessExact,omitzero" fit:"behaviour" title:"Private key access exactly" default:"false"`
	State          string `json:"state,omitzero" fit:"state" enum:"present,absent" title:"State"`

	// The SHA-1 of what is there.
	Found string `json:"found,omitzero" fit:"observed" title:"Thumbprint found"`
	// Whether its private key is there.
	HasKey bool `json:"hasKey,omitzero" fit:"observed" title:"Private key"`
	// The private key's access control list, as text: https://learn.microsoft.com/windows/win32/secauthz/security-descriptor-string-format
	KeySecurity *string `json:"keySecurity,omitzero" fit:"observed,undo" title:"Private key security"`
}

// Certificates implements Certificate.
type Certificates struct{}

var (
	_ modules.Resource[Certificate] = Certificates{}
	_ modules.Checker[Certificate]  = Certificates{}
	_ modules.Comparer[Certificate] = Certificates{}
	_ modules.Inverter[Certificate] = Certificates{}
	_ modules.Referrer[Certificate] = Certificates{}
)

// Platforms are where the type exists.
func (Certificates) Platforms() []string { return []string{"windows"} }

// Check finds what is no certificate.
func (Certificates) Check(want Certificate) error {
	if want.Store == "" {
		return hint.New(errors.New("store: missing"), "My, CA, Root and TrustedPublisher are those of Windows")
	}
	given := 0
	for _, there := range []bool{want.Certificate != nil, want.PFX != nil, want.Thumbprint != ""} {
		if there {
			given++
		}
	}
	switch {
	case given != 1:
		return hint.New(errors.New("certificate, pfx and thumbprint: one of them says which certificate it is"), "to remove one, its thumbprint will do")
	case want.Thumbprint != "" && want.State != modules.Absent:
		return errors.New("thumbprint: only what is removed can be named by it")
	case want.Password != "" && want.PFX == nil:
		return errors.New("password: only a pfx has one")
	}
	if err := want.checkKey(); err != nil {
		return err
	}
	switch {
	case want.Thumbprint != "":
		_, err := thumbprint(want.Thumbprint)
		return err
	case want.PFX != nil:
		_, err := pfxBytes(*want.PFX)
		return err
	}
	_, err := der(*want.Certificate)
	return err
}

// thumbprint reads one as Windows, browsers and people write it.
func thumbprint(s string) (string, error) {
	// Windows' own dialog begins it with an invisible mark.
	t := strings.ToLower(strings.NewReplacer(" ", "", ":", "", "\u200e", "").Replace(s))
	if b, err := hex.DecodeString(t); err != nil || len(b) != sha1.Size {
		return "", hint.New(fmt.Errorf("thumbprint: %q is no SHA-1", s), "it has 40 hexadecimal digits")
	}
	return t, nil
}

// pfxBytes never says what it was given: it is a secret.
func pfxBytes(s string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil || len(b) == 0 || b[0] != 0x30 {
		return nil, hint.New(errors.New("pfx: it isn't the base64 of a PFX file"), "base64 -w0 FILE prints it, or [Convert]::ToBase64String in PowerShell")
	}
	return b, nil
}

// der are a certificate's bytes.
func der(s string) ([]byte, error) {
	text := []byte(strings.TrimSpace(s))
	b := []byte(nil)
	if block, rest := pem.Decode(text); block != nil {
		switch {
		case strings.Contains(block.Type, "PRIVATE KEY"):
			return nil, hint.New(errors.New("certificate: it holds a private key, which anybody could read here"), "make a PFX file of both, and declare it as `pfx` by a secret")
		case block.Type != "CERTIFICATE":
			return nil, fmt.Errorf("certificate: the text holds a %s", block.Type)
		case len(bytes.TrimSpace(rest)) > 0:
			return nil, hint.New(errors.New("certificate: there is more than one certificate in the text, or something else"), "declare each by itself")
		}
		b = block.Bytes
	} else {
		var err error
		if b, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(s), "")); err != nil {
			return nil, hint.New(errors.New("certificate: it is neither PEM nor base64"), "it begins with -----BEGIN CERTIFICATE-----")
		}
	}
	// One sequence, as long as it says: what Windows makes of it is its own affair.
	if len(b) < 4 || b[0] != 0x30 || b[1] != 0x82 || int(b[2])<<8+int(b[3])+4 != len(b) {
		return nil, errors.New("certificate: it is damaged or incomplete")
	}
	return b, nil
}

// Compare takes certificates by their bytes, however they are written, and who may use a key by who is meant.
func (Certificates) Compare(property string, want, have Certificate) (met, ok bool) {
	switch property {
	case "keyAccess":
		return keyAccessMet(want.KeyAccess, want.KeyAccessExact, have.KeyAccess), true
	case "keySecurity":
		return keySecurityMet(want.KeySecurity, have.KeySecurity), true
	}
	if property != "certificate" || want.Certificate == nil || have.Certificate == nil {
		return false, false
	}
	w, errWant := der(*want.Certificate)
	h, errHave := der(*have.Certificate)
	return errWant == nil && errHave == nil && bytes.Equal(w, h), true
}

// Inverse takes out what was put in, and the other way round. A private key never comes back.
func (Certificates) Inverse(want, have Certificate) (Certificate, error) {
	back := Certificate{Name: want.Name, Store: want.Store, Location: want.Location}
	if have.State == modules.Absent {
		back.Certificate, back.PFX, back.Password, back.FriendlyName = want.Certificate, want.PFX, want.Password, want.FriendlyName
		back.State = modules.Absent
		return back, nil
	}
	if want.State == modules.Absent {
		switch {
		case want.PFX != nil:
			back.PFX, back.Password, back.KeySecurity = want.PFX, want.Password, have.KeySecurity
		case have.HasKey:
			return back, fmt.Errorf("the private key of certificate %s can't be read, and would not be found again", have.Found)
		default:
			back.Certificate = have.Certificate
		}
		back.FriendlyName = have.FriendlyName
		return back, nil
	}
	if want.PFX != nil && !have.HasKey {
		return back, errors.New("a private key that was imported stays on the device")
	}
	back.Certificate, back.PFX, back.Password, back.FriendlyName = want.Certificate, want.PFX, want.Password, have.FriendlyName
	if want.asksKey() {
		back.KeySecurity = have.KeySecurity
	}
	return back, nil
}

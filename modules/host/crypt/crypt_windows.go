// Package crypt knows the certificate stores of Windows: https://learn.microsoft.com/windows/win32/seccrypto/certificate-stores
//
//	s, err := crypt.Open(crypt.Machine, "CA", false)     // nil where there is no such store
//	defer s.Close()
//	c, err := s.Find(thumbprint)                         // nil where it isn't in it
//	err = s.Add(h, der)
//
// What is added or removed is written before the call returns.
package crypt

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"unsafe"

	"github.com/fitout-dev/fitout/modules/host"
	"golang.org/x/sys/windows"
)

var (
	crypt32         = windows.NewLazySystemDLL("crypt32.dll")
	certControl     = crypt32.NewProc("CertControlStore")
	certSetProperty = crypt32.NewProc("CertSetCertificateContextProperty")
	certGetProperty = crypt32.NewProc("CertGetCertificateContextProperty")
)

// Location is whose stores.
type Location uint32

const (
	Machine Location = windows.CERT_SYSTEM_STORE_LOCAL_MACHINE
	User    Location = windows.CERT_SYSTEM_STORE_CURRENT_USER // whom fitout runs as
)

const (
	encoding     = windows.X509_ASN_ENCODING | windows.PKCS_7_ASN_ENCODING
	keyInfo      = 2  // CERT_KEY_PROV_INFO_PROP_ID
	friendlyName = 11 // CERT_FRIENDLY_NAME_PROP_ID
	commit       = 3  // CERT_STORE_CTRL_COMMIT
)

// Store is an open store.
type Store struct {
	handle windows.Handle
	name   string
}

// Certificate is one in a store.
type Certificate struct {
	DER          []byte
	FriendlyName string
	HasKey       bool
}

// Thumbprint is what Windows calls a certificate's SHA-1.
func Thumbprint(der []byte) string {
	sum := sha1.Sum(der)
	return hex.EncodeToString(sum[:])
}

// Open opens a store; one to write is made where it is missing, one to read is nil there.
func Open(where Location, name string, write bool) (*Store, error) {
	n, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return nil, err
	}
	flags := uint32(where)
	if !write {
		flags |= windows.CERT_STORE_OPEN_EXISTING_FLAG | windows.CERT_STORE_READONLY_FLAG
	}
	s, err := windows.CertOpenStore(windows.CERT_STORE_PROV_SYSTEM_W, 0, 0, flags, uintptr(unsafe.Pointer(n)))
	if errors.Is(err, fs.ErrNotExist) && !write {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open certificate store %s: %w", name, err)
	}
	return &Store{s, name}, nil
}

// Close closes the store.
func (s *Store) Close() { _ = windows.CertCloseStore(s.handle, 0) }

func (s *Store) find(thumbprint string) (*windows.CertContext, error) {
	hash, err := hex.DecodeString(thumbprint)
	if err != nil || len(hash) == 0 {
		return nil, fmt.Errorf("%q is no thumbprint", thumbprint)
	}
	blob := windows.CryptDataBlob{Size: uint32(len(hash)), Data: &hash[0]}
	c, err := windows.CertFindCertificateInStore(s.handle, encoding, 0, windows.CERT_FIND_SHA1_HASH, unsafe.Pointer(&blob), nil)
	if errors.Is(err, windows.Errno(windows.CRYPT_E_NOT_FOUND)) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for %s in store %s: %w", thumbprint, s.name, err)
	}
	return c, nil
}

// Find finds a certificate by its thumbprint, or nil.
func (s *Store) Find(thumbprint string) (*Certificate, error) {
	c, err := s.find(thumbprint)
	if c == nil {
		return nil, err
	}
	defer windows.CertFreeCertificateContext(c)
	return describe(c), nil
}

func describe(c *windows.CertContext) *Certificate {
	out := &Certificate{DER: append([]byte(nil), unsafe.Slice(c.EncodedCert, c.Length)...)}
	var size uint32
	if ok, _, _ := certGetProperty.Call(uintptr(unsafe.Pointer(c)), keyInfo, 0, uintptr(unsafe.Pointer(&size))); ok != 0 {
		out.HasKey = true
	}
	if ok, _, _ := certGetProperty.Call(uintptr(unsafe.Pointer(c)), friendlyName, 0, uintptr(unsafe.Pointer(&size))); ok != 0 && size >= 2 {
		buf := make([]uint16, size/2)
		if ok, _, _ := certGetProperty.Call(uintptr(unsafe.Pointer(c)), friendlyName, uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size))); ok != 0 {
			out.FriendlyName = windows.UTF16ToString(buf)
		}
	}
	return out
}

func (s *Store) commit() error {
	if ok, _, err := certControl.Call(uintptr(s.handle), 0, commit, 0); ok == 0 {
		return fmt.Errorf("write certificate store %s: %w", s.name, err)
	}
	return nil
}

// Add puts a certificate into the store.
func (s *Store) Add(h *host.Host, der []byte) error {
	c, err := windows.CertCreateCertificateContext(encoding, &der[0], uint32(len(der)))
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	defer windows.CertFreeCertificateContext(c)
	return s.add(h, c)
}

func (s *Store) add(h *host.Host, c *windows.CertContext) error {
	h.Step("add a certificate to store", s.name)
	if err := windows.CertAddCertificateContextToStore(s.handle, c, windows.CERT_STORE_ADD_REPLACE_EXISTING, nil); err != nil {
		return fmt.Errorf("add to certificate store %s: %w", s.name, err)
	}
	return s.commit()
}

// Rename gives a certificate a friendly name.
func (s *Store) Rename(h *host.Host, thumbprint, name string) error {
	c, err := s.find(thumbprint)
	if err != nil {
		return err
	}
	if c == nil {
		return fmt.Errorf("certificate %s isn't in store %s", thumbprint, s.name)
	}
	defer windows.CertFreeCertificateContext(c)
	text, err := windows.UTF16FromString(name)
	if err != nil {
		return err
	}
	blob := windows.CryptDataBlob{Size: uint32(2 * len(text)), Data: (*byte)(unsafe.Pointer(&text[0]))}
	h.Step("name the certificate", thumbprint)
	if ok, _, err := certSetProperty.Call(uintptr(unsafe.Pointer(c)), friendlyName, 0, uintptr(unsafe.Pointer(&blob))); ok == 0 {
		return fmt.Errorf("name certificate %s: %w", thumbprint, err)
	}
	// A property alone doesn't make every system write the store: with the certificate it does.
	return s.add(h, c)
}

// Remove takes a certificate out of the store; that it isn't there is no error. Its private key stays where it is.
func (s *Store) Remove(h *host.Host, thumbprint string) error {
	c, err := s.find(thumbprint)
	if c == nil {
		return err
	}
	h.Step("remove a certificate from store", s.name)
	if err := windows.CertDeleteCertificateFromStore(c); err != nil { // which frees c
		return fmt.Errorf("remove from certificate store %s: %w", s.name, err)
	}
	return s.commit()
}

// AddPFX puts the certificate with a private key that a PFX file holds into the store.
func (s *Store) AddPFX(h *host.Host, where Location, pfx []byte, password string) error {
	flags := uint32(0)
	if where == Machine {
		flags = windows.CRYPT_MACHINE_KEYSET
	}
	h.Step("import a private key for store", s.name)
	return withKey(pfx, password, flags, func(c *windows.CertContext) error { return s.add(h, c) })
}

// ReadPFX returns the certificate whose private key a PFX file holds. Nothing of the key is kept.
func ReadPFX(pfx []byte, password string) (der []byte, err error) {
	err = withKey(pfx, password, windows.PKCS12_NO_PERSIST_KEY, func(c *windows.CertContext) error {
		der = describe(c).DER
		return nil
	})
	return der, err
}

func withKey(pfx []byte, password string, flags uint32, do func(*windows.CertContext) error) error {
	p, err := windows.UTF16PtrFromString(password)
	if err != nil {
		return errors.New("the password holds a NUL")
	}
	blob := windows.CryptDataBlob{Size: uint32(len(pfx)), Data: &pfx[0]}
	mem, err := windows.PFXImportCertStore(&blob, p, flags)
	// Windows tells a wrong password from a damaged file, Wine gives no reason.
	if errors.Is(err, windows.ERROR_INVALID_PASSWORD) || errors.Is(err, syscall.EINVAL) {
		return errors.New("the PFX has another password, or is damaged")
	}
	if err != nil {
		return fmt.Errorf("read the PFX: %w", err)
	}
	defer windows.CertCloseStore(mem, windows.CERT_CLOSE_STORE_FORCE_FLAG)
	const keyHandle = 5 // CERT_KEY_CONTEXT_PROP_ID: what has no persistent key has this one
	var first *windows.CertContext
	for c, err := windows.CertEnumCertificatesInStore(mem, nil); err == nil && c != nil; c, err = windows.CertEnumCertificatesInStore(mem, c) {
		var size uint32
		withInfo, _, _ := certGetProperty.Call(uintptr(unsafe.Pointer(c)), keyInfo, 0, uintptr(unsafe.Pointer(&size)))
		withContext, _, _ := certGetProperty.Call(uintptr(unsafe.Pointer(c)), keyHandle, 0, uintptr(unsafe.Pointer(&size)))
		if withInfo != 0 || withContext != 0 {
			first = windows.CertDuplicateCertificateContext(c)
			windows.CertFreeCertificateContext(c)
			break
		}
	}
	if first == nil {
		return errors.New("the PFX has no certificate with a private key")
	}
	defer windows.CertFreeCertificateContext(first)
	return do(first)
}

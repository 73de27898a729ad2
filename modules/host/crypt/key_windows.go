package crypt

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/privilege"
	"golang.org/x/sys/windows"
)

// Who may use a private key. Where it is, the certificate tells: in a container of a provider of CryptoAPI, or as a key of CNG.
// https://learn.microsoft.com/windows/win32/api/wincrypt/ns-wincrypt-crypt_key_prov_info

var (
	advapi32     = windows.NewLazySystemDLL("advapi32.dll")
	getProvParam = advapi32.NewProc("CryptGetProvParam")
	setProvParam = advapi32.NewProc("CryptSetProvParam")
	ncrypt       = windows.NewLazySystemDLL("ncrypt.dll")
	openProvider = ncrypt.NewProc("NCryptOpenStorageProvider")
	openKey      = ncrypt.NewProc("NCryptOpenKey")
	getProperty  = ncrypt.NewProc("NCryptGetProperty")
	setProperty  = ncrypt.NewProc("NCryptSetProperty")
	freeObject   = ncrypt.NewProc("NCryptFreeObject")
)

const (
	keysetSecurity   = 8                // PP_KEYSET_SEC_DESCR
	securityProperty = "Security Descr" // NCRYPT_SECURITY_DESCR_PROPERTY
	// Both kinds have the same bits: CRYPT_MACHINE_KEYSET is NCRYPT_MACHINE_KEY_FLAG, CRYPT_SILENT is NCRYPT_SILENT_FLAG.
	machineKey = windows.CRYPT_MACHINE_KEYSET
	silent     = windows.CRYPT_SILENT
)

// ErrNotMachines says that a key is no other's to use, whatever its access control list says: it is sealed for one user.
var ErrNotMachines = hint.New(errors.New("its private key is one user's, not the machine's"), "import the PFX for the machine; a user's key is sealed with the user's password")

// provInfo is Windows' CRYPT_KEY_PROV_INFO.
type provInfo struct {
	container, provider *uint16
	providerType, flags uint32
	params              uint32
	param               unsafe.Pointer
	spec                uint32
}

// key is an open private key.
type key struct {
	// get and set are about the access control list. get answers how long it is where buf is too short.
	get   func(buf []byte) (size uint32, err error)
	set   func(d []byte) error
	close func()
}

// KeySecurity is the access control list of a certificate's private key, as package sddl reads it.
func (s *Store) KeySecurity(thumbprint string) (text string, err error) {
	err = s.withKey(thumbprint, func(k key) error {
		size, err := k.get(nil)
		for err == nil {
			buf := make([]byte, max(size, uint32(unsafe.Sizeof(windows.SECURITY_DESCRIPTOR{}))))
			if size, err = k.get(buf); err == nil && int(size) <= len(buf) {
				text = (*windows.SECURITY_DESCRIPTOR)(unsafe.Pointer(&buf[0])).String()
				break
			}
		}
		if err == nil && text == "" {
			err = errors.New("it can't be read")
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("access of the private key of certificate %s: %w", thumbprint, err)
	}
	return text, nil
}

// SetKeySecurity sets it. The owner stays.
func (s *Store) SetKeySecurity(h *host.Host, thumbprint, text string) error {
	d, err := windows.SecurityDescriptorFromString(text)
	if err != nil {
		return fmt.Errorf("%s: %w", text, err)
	}
	securityPrivilege()
	h.Step("set the access of the private key of certificate", thumbprint)
	err = s.withKey(thumbprint, func(k key) error {
		return k.set(unsafe.Slice((*byte)(unsafe.Pointer(d)), d.Length()))
	})
	if err != nil {
		return fmt.Errorf("set the access of the private key of certificate %s: %w", thumbprint, err)
	}
	return nil
}

// securityPrivilege is for providers that open a key for audit entries too, whatever they are to set: Wine's does.
var securityPrivilege = sync.OnceFunc(func() { _ = privilege.Enable("SeSecurityPrivilege") })

func (s *Store) withKey(thumbprint string, do func(key) error) error {
	c, err := s.find(thumbprint)
	if err != nil {
		return err
	}
	if c == nil {
		return fmt.Errorf("it isn't in store %s", s.name)
	}
	defer windows.CertFreeCertificateContext(c)
	buf, err := property(c, keyInfo)
	if err != nil || len(buf) < int(unsafe.Sizeof(provInfo{})) {
		return errors.New("it has none")
	}
	info := (*provInfo)(unsafe.Pointer(&buf[0]))
	if info.flags&machineKey == 0 {
		return ErrNotMachines
	}
	open := openCSP
	if info.providerType == 0 {
		open = openCNG
	}
	k, err := open(info)
	if err != nil {
		return fmt.Errorf("open it: %w", missingKey(err))
	}
	defer k.close()
	return do(k)
}

// property is one of a certificate's.
func property(c *windows.CertContext, id uintptr) ([]byte, error) {
	var size uint32
	if ok, _, err := certGetProperty.Call(uintptr(unsafe.Pointer(c)), id, 0, uintptr(unsafe.Pointer(&size))); ok == 0 || size == 0 {
		return nil, err
	}
	buf := make([]byte, size)
	if ok, _, err := certGetProperty.Call(uintptr(unsafe.Pointer(c)), id, uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size))); ok == 0 {
		return nil, err
	}
	return buf, nil
}

func missingKey(err error) error {
	if errors.Is(err, windows.Errno(windows.NTE_BAD_KEYSET)) {
		return hint.New(err, "the certificate names a key that is gone, or that this login may not open: import the PFX again, as an administrator or SYSTEM")
	}
	return err
}

func openCSP(info *provInfo) (key, error) {
	var provider windows.Handle
	if err := windows.CryptAcquireContext(&provider, info.container, info.provider, info.providerType, machineKey|silent); err != nil {
		return key{}, err
	}
	return key{
		get: func(buf []byte) (uint32, error) {
			size := uint32(len(buf))
			ok, _, err := getProvParam.Call(uintptr(provider), keysetSecurity, uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(unsafe.Pointer(&size)), windows.DACL_SECURITY_INFORMATION)
			if ok == 0 && !errors.Is(err, windows.ERROR_INSUFFICIENT_BUFFER) && !errors.Is(err, windows.ERROR_MORE_DATA) {
				return 0, err
			}
			return size, nil
		},
		set: func(d []byte) error {
			if ok, _, err := setProvParam.Call(uintptr(provider), keysetSecurity, uintptr(unsafe.Pointer(unsafe.SliceData(d))), windows.DACL_SECURITY_INFORMATION); ok == 0 {
				return err
			}
			return nil
		},
		close: func() { _ = windows.CryptReleaseContext(provider, 0) },
	}, nil
}

func openCNG(info *provInfo) (key, error) {
	var provider, handle uintptr
	if err := status(openProvider.Call(uintptr(unsafe.Pointer(&provider)), uintptr(unsafe.Pointer(info.provider)), 0)); err != nil {
		return key{}, err
	}
	spec := uintptr(info.spec)
	if spec != windows.AT_KEYEXCHANGE && spec != windows.AT_SIGNATURE {
		spec = 0 // the others are no part of a key's name
	}
	err := status(openKey.Call(provider, uintptr(unsafe.Pointer(&handle)), uintptr(unsafe.Pointer(info.container)), spec, machineKey|silent))
	if err != nil {
		_, _, _ = freeObject.Call(provider)
		return key{}, err
	}
	name := windows.StringToUTF16Ptr(securityProperty)
	return key{
		get: func(buf []byte) (uint32, error) {
			var size uint32
			err := status(getProperty.Call(handle, uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(len(buf)), uintptr(unsafe.Pointer(&size)), windows.DACL_SECURITY_INFORMATION))
			if err != nil && !errors.Is(err, windows.Errno(windows.NTE_BUFFER_TOO_SMALL)) {
				return 0, err
			}
			return size, nil
		},
		set: func(d []byte) error {
			return status(setProperty.Call(handle, uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(unsafe.SliceData(d))), uintptr(len(d)), windows.DACL_SECURITY_INFORMATION))
		},
		close: func() {
			_, _, _ = freeObject.Call(handle)
			_, _, _ = freeObject.Call(provider)
		},
	}, nil
}

// status is what CNG returns as an error.
func status(code, _ uintptr, _ error) error {
	if code == 0 {
		return nil
	}
	return windows.Errno(code)
}

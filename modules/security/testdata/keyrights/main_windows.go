// Command keyrights prints who may do what with the private keys of the machine's certificates in My, by its own way.
// With the argument "machine" it first says in each certificate that its key is the machine's, which Wine's import forgets.
package main

import (
	"fmt"
	"log"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	crypt32  = windows.NewLazySystemDLL("crypt32.dll")
	advapi32 = windows.NewLazySystemDLL("advapi32.dll")
)

type keyInfo struct {
	container, provider *uint16
	typ, flags, params  uint32
	param               unsafe.Pointer
	spec                uint32
}

func main() {
	name, _ := windows.UTF16PtrFromString("My")
	store, err := windows.CertOpenStore(windows.CERT_STORE_PROV_SYSTEM_W, 0, 0, windows.CERT_SYSTEM_STORE_LOCAL_MACHINE, uintptr(unsafe.Pointer(name)))
	if err != nil {
		log.Fatal(err)
	}
	for c, err := windows.CertEnumCertificatesInStore(store, nil); err == nil; c, err = windows.CertEnumCertificatesInStore(store, c) {
		size := uint32(4096)
		buf := make([]byte, size)
		if ok, _, _ := crypt32.NewProc("CertGetCertificateContextProperty").Call(uintptr(unsafe.Pointer(c)), 2, uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size))); ok == 0 {
			continue
		}
		info := (*keyInfo)(unsafe.Pointer(&buf[0]))
		if len(os.Args) > 1 && os.Args[1] == "machine" {
			info.flags = windows.CRYPT_MACHINE_KEYSET
			if ok, _, err := crypt32.NewProc("CertSetCertificateContextProperty").Call(uintptr(unsafe.Pointer(c)), 2, 0, uintptr(unsafe.Pointer(info))); ok == 0 {
				log.Fatal(err)
			}
			// Wine writes the properties of what is new.
			again := windows.CertDuplicateCertificateContext(c)
			if err := windows.CertDeleteCertificateFromStore(c); err != nil {
				log.Fatal(err)
			}
			write(store)
			if err := windows.CertAddCertificateContextToStore(store, again, windows.CERT_STORE_ADD_ALWAYS, nil); err != nil {
				log.Fatal(err)
			}
			write(store)
			return
		}
		fmt.Println(rights(info))
	}
}

func write(store windows.Handle) {
	const commit = 3
	if ok, _, err := crypt32.NewProc("CertControlStore").Call(uintptr(store), 0, commit, 0); ok == 0 {
		log.Fatal(err)
	}
}

func rights(info *keyInfo) string {
	var provider windows.Handle
	if err := windows.CryptAcquireContext(&provider, info.container, info.provider, info.typ, windows.CRYPT_MACHINE_KEYSET); err != nil {
		return err.Error()
	}
	size := uint32(4096)
	buf := make([]byte, size)
	if ok, _, err := advapi32.NewProc("CryptGetProvParam").Call(uintptr(provider), 8, uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size)), windows.DACL_SECURITY_INFORMATION); ok == 0 {
		return err.Error()
	}
	return (*windows.SECURITY_DESCRIPTOR)(unsafe.Pointer(&buf[0])).String()
}

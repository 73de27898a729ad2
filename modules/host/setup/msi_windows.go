package setup

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"github.com/fitout-dev/fitout/modules/host/user32"
	"golang.org/x/sys/windows"
)

// https://learn.microsoft.com/windows/win32/api/msi/
var (
	msi                 = windows.NewLazySystemDLL("msi.dll")
	msiQueryProduct     = msi.NewProc("MsiQueryProductStateW")
	msiGetProductInfo   = msi.NewProc("MsiGetProductInfoW")
	msiOpenDatabase     = msi.NewProc("MsiOpenDatabaseW")
	msiDatabaseOpenView = msi.NewProc("MsiDatabaseOpenViewW")
	msiViewExecute      = msi.NewProc("MsiViewExecute")
	msiViewFetch        = msi.NewProc("MsiViewFetch")
	msiRecordGetString  = msi.NewProc("MsiRecordGetStringW")
	msiCloseHandle      = msi.NewProc("MsiCloseHandle")
	msiEnumRelated      = msi.NewProc("MsiEnumRelatedProductsW")
)

// Product is a product of Windows Installer that is installed.
type Product struct{ Name, Version string }

const stateDefault = 5 // INSTALLSTATE_DEFAULT

// Installed finds a product that is installed for the machine or for the user whom fitout runs as, or nil.
func Installed(code string) (*Product, error) {
	user32.Begin()
	c, err := windows.UTF16PtrFromString(code)
	if err != nil {
		return nil, err
	}
	if state, _, _ := msiQueryProduct.Call(uintptr(unsafe.Pointer(c))); int32(state) != stateDefault {
		return nil, nil
	}
	var p Product
	for name, to := range map[string]*string{"InstalledProductName": &p.Name, "VersionString": &p.Version} {
		n, err := windows.UTF16PtrFromString(name)
		if err != nil {
			return nil, err
		}
		*to, err = text(func(buf *uint16, size *uint32) uintptr {
			r, _, _ := msiGetProductInfo.Call(uintptr(unsafe.Pointer(c)), uintptr(unsafe.Pointer(n)), uintptr(unsafe.Pointer(buf)), uintptr(unsafe.Pointer(size)))
			return r
		})
		if err != nil {
			return nil, fmt.Errorf("%s of product %s: %w", name, code, err)
		}
	}
	return &p, nil
}

// Related lists the products that are installed and have an upgrade code.
func Related(upgradeCode string) ([]string, error) {
	user32.Begin()
	u, err := windows.UTF16PtrFromString(upgradeCode)
	if err != nil {
		return nil, err
	}
	var codes []string
	for i := 0; ; i++ {
		var buf [39]uint16
		r, _, _ := msiEnumRelated.Call(uintptr(unsafe.Pointer(u)), 0, uintptr(i), uintptr(unsafe.Pointer(&buf[0])))
		switch windows.Errno(r) {
		case 0:
			codes = append(codes, windows.UTF16ToString(buf[:]))
		case windows.ERROR_NO_MORE_ITEMS:
			return codes, nil
		default:
			return codes, fmt.Errorf("list products of upgrade code %s: %w", upgradeCode, windows.Errno(r))
		}
	}
}

// Package is what a package of Windows Installer says of itself.
type Package struct{ ProductCode, ProductVersion, ProductName, UpgradeCode string }

// OpenPackage reads a package.
func OpenPackage(path string) (Package, error) {
	user32.Begin()
	var p Package
	n, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return p, err
	}
	const readOnly = 0
	var db uint32 // handles of this library have 32 bits
	if r, _, _ := msiOpenDatabase.Call(uintptr(unsafe.Pointer(n)), readOnly, uintptr(unsafe.Pointer(&db))); r != 0 {
		return p, fmt.Errorf("open %s: %w", path, failure(r))
	}
	defer msiCloseHandle.Call(uintptr(db))
	for name, to := range map[string]*string{"ProductCode": &p.ProductCode, "ProductVersion": &p.ProductVersion, "ProductName": &p.ProductName, "UpgradeCode": &p.UpgradeCode} {
		if *to, err = property(db, name); err != nil {
			return p, fmt.Errorf("%s of %s: %w", name, path, err)
		}
	}
	if p.ProductCode == "" {
		return p, fmt.Errorf("%s has no product code", path)
	}
	p.ProductCode = strings.ToUpper(p.ProductCode)
	return p, nil
}

// property reads a property of a package; "" where it has none.
func property(db uint32, name string) (string, error) {
	query, err := windows.UTF16PtrFromString("SELECT `Value` FROM `Property` WHERE `Property` = '" + name + "'")
	if err != nil {
		return "", err
	}
	var view, record uint32
	if r, _, _ := msiDatabaseOpenView.Call(uintptr(db), uintptr(unsafe.Pointer(query)), uintptr(unsafe.Pointer(&view))); r != 0 {
		return "", failure(r)
	}
	defer msiCloseHandle.Call(uintptr(view))
	if r, _, _ := msiViewExecute.Call(uintptr(view), 0); r != 0 {
		return "", failure(r)
	}
	r, _, _ := msiViewFetch.Call(uintptr(view), uintptr(unsafe.Pointer(&record)))
	if errors.Is(windows.Errno(r), windows.ERROR_NO_MORE_ITEMS) {
		return "", nil
	}
	if r != 0 {
		return "", failure(r)
	}
	defer msiCloseHandle.Call(uintptr(record))
	return text(func(buf *uint16, size *uint32) uintptr {
		r, _, _ := msiRecordGetString.Call(uintptr(record), 1, uintptr(unsafe.Pointer(buf)), uintptr(unsafe.Pointer(size)))
		return r
	})
}

// text calls a function that fills a buffer until the buffer is large enough.
func text(call func(buf *uint16, size *uint32) uintptr) (string, error) {
	buf := make([]uint16, 256)
	for {
		size := uint32(len(buf))
		switch r := call(&buf[0], &size); windows.Errno(r) {
		case 0:
			return windows.UTF16ToString(buf), nil
		case windows.ERROR_MORE_DATA:
			buf = make([]uint16, size+1)
		default:
			return "", failure(r)
		}
	}
}

func failure(r uintptr) error {
	if w := Words(int(r)); w != "" {
		return fmt.Errorf("%s (%d)", w, r)
	}
	return windows.Errno(r)
}

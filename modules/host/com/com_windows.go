// Package com calls objects of Windows' Component Object Model by their tables of methods: late binding fails on some of them.
//
//	err := com.Do(func() error {
//		link, err := com.Create(shellLink, iShellLink)
//		if err != nil {
//			return err
//		}
//		defer link.Release()
//		return link.Call("set the target", 20, uintptr(unsafe.Pointer(target)))
//	})
//
// An object belongs to the thread that made it: Do keeps that one for the time, and nothing may leave it.
package com

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"github.com/fitout-dev/fitout/modules/host/user32"
	"golang.org/x/sys/windows"
)

var (
	ole32                 = windows.NewLazySystemDLL("ole32.dll")
	coCreateInstance      = ole32.NewProc("CoCreateInstance")
	createStreamOnHGlobal = ole32.NewProc("CreateStreamOnHGlobal")
	oleaut32              = windows.NewLazySystemDLL("oleaut32.dll")
	sysAllocStringLen     = oleaut32.NewProc("SysAllocStringLen")
	sysFreeString         = oleaut32.NewProc("SysFreeString")
	sysStringLen          = oleaut32.NewProc("SysStringLen")
)

const (
	errAlreadyOtherwise = syscall.Errno(0x80010106) // RPC_E_CHANGED_MODE
	anyServer           = 1 | 4                     // CLSCTX_INPROC_SERVER, CLSCTX_LOCAL_SERVER
)

// Do runs do with COM at hand, in an apartment of one thread.
func Do(do func() error) error {
	user32.Begin()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	switch err := windows.CoInitializeEx(0, windows.COINIT_APARTMENTTHREADED); {
	case err == nil, errors.Is(err, syscall.Errno(windows.S_FALSE)):
		defer windows.CoUninitialize()
	case errors.Is(err, errAlreadyOtherwise): // by somebody else in this thread: that will do
	default:
		return fmt.Errorf("initialize COM: %w", err)
	}
	return do()
}

// Object is an interface of an object.
type Object struct{ table **[64]uintptr }

// Create makes an object of a class.
func Create(class, face windows.GUID) (Object, error) {
	var o Object
	if r, _, _ := coCreateInstance.Call(uintptr(unsafe.Pointer(&class)), 0, anyServer, uintptr(unsafe.Pointer(&face)), uintptr(unsafe.Pointer(&o.table))); int32(r) < 0 {
		return o, fmt.Errorf("create object %s: %w", class, Result(r))
	}
	return o, nil
}

// Call calls a method by its place in the table: those of IUnknown are 0 to 2, of IDispatch 3 to 6. what is for the error. As
// with syscalls, pointers are made numbers in the call itself: only then do they stay where they are.
//
//go:uintptrescapes
func (o Object) Call(what string, method int, args ...uintptr) error {
	r, _, _ := syscall.SyscallN((*o.table)[method], append([]uintptr{uintptr(unsafe.Pointer(o.table))}, args...)...)
	if int32(r) < 0 {
		return fmt.Errorf("%s: %w", what, Result(r))
	}
	return nil
}

// Query asks for another interface of the object.
func (o Object) Query(face windows.GUID) (Object, error) {
	var other Object
	err := o.Call("query interface", 0, uintptr(unsafe.Pointer(&face)), uintptr(unsafe.Pointer(&other.table)))
	return other, err
}

// Release lets the interface go. That of nothing is nothing.
func (o Object) Release() {
	if o.table != nil {
		syscall.SyscallN((*o.table)[2], uintptr(unsafe.Pointer(o.table)))
	}
}

// Result is a HRESULT that says no.
type Result uint32

// Error is the system's text, where it has one: those of Windows' own errors are in its lower half.
func (r Result) Error() string {
	if uint32(r)>>16 == 0x8007 {
		return syscall.Errno(uint32(r) & 0xffff).Error()
	}
	return fmt.Sprintf("error %#x (%s)", uint32(r), syscall.Errno(r).Error())
}

// Unwrap makes errors.Is see Windows' own errors.
func (r Result) Unwrap() error {
	if uint32(r)>>16 == 0x8007 {
		return syscall.Errno(uint32(r) & 0xffff)
	}
	return nil
}

// BSTR is a text of COM's own.
type BSTR uintptr

// NewBSTR makes one; Free is to be called.
func NewBSTR(s string) (BSTR, error) {
	u, err := windows.UTF16FromString(s)
	if err != nil {
		return 0, err
	}
	p, _, _ := sysAllocStringLen.Call(uintptr(unsafe.Pointer(&u[0])), uintptr(len(u)-1))
	return BSTR(p), nil
}

// Free gives its memory back.
func (b BSTR) Free() {
	if b != 0 {
		sysFreeString.Call(uintptr(b))
	}
}

// String is the text.
func (b BSTR) String() string {
	if b == 0 {
		return ""
	}
	n, _, _ := sysStringLen.Call(uintptr(b))
	return windows.UTF16ToString(unsafe.Slice(*(**uint16)(unsafe.Pointer(&b)), int(n)))
}

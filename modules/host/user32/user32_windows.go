// Package user32 begins with what Windows has for windows, which libraries for printers, packages and tasks all bring along.
package user32

import (
	"sync"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	user32        = windows.NewLazySystemDLL("user32.dll")
	defWindowProc = user32.NewProc("DefWindowProcW")
	registerClass = user32.NewProc("RegisterClassW")
)

// Begin has one thread alone begin with it. Under Wine two that do so at once can wait for each other for ever: one registers the
// classes that are built in, and loads a library for them, while the other loads a library that registers a class.
var Begin = sync.OnceFunc(func() {
	if registerClass.Find() != nil || defWindowProc.Find() != nil {
		return
	}
	class := struct { // WNDCLASSW
		style              uint32
		proc               uintptr
		classExtra, extra  int32
		instance, icon     uintptr
		cursor, background uintptr
		menu, name         *uint16
	}{proc: defWindowProc.Addr(), name: windows.StringToUTF16Ptr("fitout")}
	registerClass.Call(uintptr(unsafe.Pointer(&class))) // that it can't be registered is for those who need it
})

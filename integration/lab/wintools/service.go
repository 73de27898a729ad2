//go:build windows

package main

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

var (
	advapi32        = syscall.NewLazyDLL("advapi32.dll")
	startDispatcher = advapi32.NewProc("StartServiceCtrlDispatcherW")
	registerHandler = advapi32.NewProc("RegisterServiceCtrlHandlerExW")
	setStatus       = advapi32.NewProc("SetServiceStatus")
)

const (
	win32OwnProcess = 0x10
	stopped         = 1
	running         = 4
	acceptsStop     = 1 | 4 // and the shutdown
	acceptsChange   = 8
)

// serviceStatus is SERVICE_STATUS.
type serviceStatus struct{ kind, state, accepts, exitCode, ownExitCode, checkPoint, waitHint uint32 }

// service is a Windows service that does nothing but run until it is stopped. One called "listening" takes word of a changed
// configuration, and leaves a mark that it did.
func service(name string) error {
	pname, err := syscall.UTF16PtrFromString(name)
	if err != nil {
		return err
	}
	end := make(chan struct{})
	accepts := uint32(acceptsStop)
	if name == "listening" {
		accepts |= acceptsChange
	}
	handler := syscall.NewCallback(func(control, eventType uint32, eventData, context uintptr) uintptr {
		if control == 1 || control == 5 { // stop, shutdown
			close(end)
		}
		if control == 6 { // a changed configuration
			_ = os.WriteFile(`C:\windows\temp\told`, nil, 0o644)
		}
		return 0
	})
	main := syscall.NewCallback(func(argc uint32, argv **uint16) uintptr {
		h, _, _ := registerHandler.Call(uintptr(unsafe.Pointer(pname)), handler, 0)
		tell := func(state uint32) {
			s := serviceStatus{kind: win32OwnProcess, state: state, accepts: accepts}
			setStatus.Call(h, uintptr(unsafe.Pointer(&s)))
		}
		tell(running)
		<-end
		tell(stopped)
		return 0
	})
	table := [2]struct {
		name *uint16
		main uintptr
	}{{pname, main}}
	if ok, _, err := startDispatcher.Call(uintptr(unsafe.Pointer(&table[0]))); ok == 0 {
		return fmt.Errorf("service %s: %w", name, err)
	}
	return nil
}

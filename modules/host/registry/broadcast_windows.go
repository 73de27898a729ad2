package registry

import (
	"time"
	"unsafe"

	"github.com/fitout-dev/fitout/modules/host"
	"golang.org/x/sys/windows"
)

var sendMessageTimeout = windows.NewLazySystemDLL("user32.dll").NewProc("SendMessageTimeoutW")

// EnvironmentChanged tells the programs with a window that variables have changed, so that what Explorer starts from now on has
// them. It returns when all have heard of it, or after five seconds: a window that hangs isn't waited for, but many may be slow.
// https://learn.microsoft.com/windows/win32/winmsg/wm-settingchange
func EnvironmentChanged(h *host.Host) {
	const (
		broadcast     = 0xffff
		settingChange = 0x1a
		abortIfHung   = 0x2
		eachWindow    = 1000 // ms
	)
	if sendMessageTimeout.Find() != nil {
		return
	}
	what := windows.StringToUTF16Ptr("Environment")
	done := make(chan struct{})
	go func() {
		defer close(done)
		var answer uintptr
		sendMessageTimeout.Call(broadcast, settingChange, 0, uintptr(unsafe.Pointer(what)), abortIfHung, eachWindow, uintptr(unsafe.Pointer(&answer)))
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		h.Log().Info("some windows haven't answered yet that variables have changed")
	}
}

package preflight

import (
	"context"
	"runtime"
	"sync"

	"github.com/fitout-dev/fitout/modules/host"
	"golang.org/x/sys/windows"
)

var setThreadExecutionState = windows.NewLazySystemDLL("kernel32.dll").NewProc("SetThreadExecutionState")

const (
	continuous     = 0x80000000 // ES_CONTINUOUS
	systemRequired = 0x00000001 // ES_SYSTEM_REQUIRED
)

// Inhibit keeps the device from going to sleep by itself until release is called or this process ends. A lid that is
// closed, or somebody who chooses Sleep, is stronger than that: Windows has no way to forbid it. Release may be called more
// than once.
func Inhibit(ctx context.Context, h *host.Host, why string) (release func()) {
	if !h.Living() || setThreadExecutionState.Find() != nil {
		return func() {}
	}
	end, begun := make(chan struct{}), make(chan struct{})
	go func() { // the state is a thread's, and ends with it
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if before, _, err := setThreadExecutionState.Call(continuous | systemRequired); before == 0 {
			h.Log().Debug("sleep is not inhibited", "error", err)
		}
		close(begun)
		<-end
		setThreadExecutionState.Call(continuous)
	}()
	<-begun
	return sync.OnceFunc(func() { close(end) })
}

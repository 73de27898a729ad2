package executor

import (
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/windows"
)

// bootID names this start of the kernel by its moment, to 100 ns. A clock that is set moves what the kernel tells as that
// moment, and the bias by as much: without it, the moment is what the clock showed then. After a shutdown with fast startup it
// is the same kernel as before, with the same services in it, ours among them.
var bootID = sync.OnceValue(func() string {
	const systemTimeOfDayInformation = 3
	var info struct {
		BootTime, CurrentTime, TimeZoneBias int64
		TimeZoneID, Reserved                uint32
		BootTimeBias, SleepTimeBias         uint64
	}
	if windows.NtQuerySystemInformation(systemTimeOfDayInformation, unsafe.Pointer(&info), uint32(unsafe.Sizeof(info)), nil) != nil || info.BootTime == 0 {
		return ""
	}
	return fmt.Sprintf("%x", info.BootTime-int64(info.BootTimeBias))
})

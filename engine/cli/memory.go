package cli

import (
	"os"
	"runtime"
	"runtime/debug"
)

// spare is the heap, in percent of Go's smallest (4 MiB), that a command may fill before garbage is first collected.
const spare = 400

// collectLater lets the heap grow to 16 MiB before the first collection, which most commands don't live to see, and then
// has Go collect as usual.
func collectLater() {
	if os.Getenv("GOGC") != "" {
		return
	}
	usual := debug.SetGCPercent(spare)
	runtime.AddCleanup(new(*int), func(percent int) { debug.SetGCPercent(percent) }, usual)
}

// Package fuzzing bounds what the project's fuzz targets do. Nothing but tests uses it.
package fuzzing

import "time"

// Most is how many bytes of what a fuzzer thinks up are looked at.
const Most = 64 << 10

// Soon ends the process, every goroutine's stack told, where an input takes far longer than it may on a busy machine.
func Soon(f func()) {
	defer time.AfterFunc(time.Minute, func() { panic("no end in sight") }).Stop()
	f()
}

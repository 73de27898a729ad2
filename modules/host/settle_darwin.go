package host

import "syscall"

// syncAll has all file systems written. macOS doesn't say when they are.
func syncAll() error { return syscall.Sync() }

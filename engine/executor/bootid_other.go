//go:build !linux && !windows

package executor

import "golang.org/x/sys/unix"

// bootID names this start of the machine, as macOS' kernel does; "" where none does.
func bootID() string {
	id, _ := unix.Sysctl("kern.bootsessionuuid")
	return id
}

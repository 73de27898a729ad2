//go:build !linux

// Command faults needs a lab, which needs Linux.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "faults: a lab needs Linux")
	os.Exit(1)
}

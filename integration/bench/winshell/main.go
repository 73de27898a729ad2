// Command winshell stands in on a Windows machine of the lab, where there is no PowerShell, for what Ansible's winrm
// connection wraps every command in: `PowerShell ... -EncodedCommand SCRIPT`. It hands the script to cmd.exe, which is far less
// than PowerShell does before its first command. `winshell count` counts what comes by stdin.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"unicode/utf16"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "count" {
		n, err := io.Copy(io.Discard, os.Stdin)
		exitOn(err)
		fmt.Print(n)
		return
	}
	script, err := script(os.Args[1:])
	exitOn(err)
	cmd := command(script)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		os.Exit(exit.ExitCode())
	}
	exitOn(err)
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "winshell:", err)
		os.Exit(255)
	}
}

// script is the one that the last argument encodes: base64 of UTF-16.
func script(args []string) (string, error) {
	if len(args) < 2 || !strings.EqualFold(args[len(args)-2], "-EncodedCommand") {
		return "", fmt.Errorf("no -EncodedCommand in %q", args)
	}
	b, err := base64.StdEncoding.DecodeString(args[len(args)-1])
	if err != nil || len(b)%2 != 0 {
		return "", fmt.Errorf("-EncodedCommand %s: no base64 of UTF-16", args[len(args)-1])
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units)), nil
}

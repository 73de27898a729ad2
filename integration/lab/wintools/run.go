//go:build windows

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"unsafe"
)

// run runs a program with its own standard streams and writes the exit code to a file, whole: what Wine gives to the Unix
// side is its last eight bits. If run is killed, so is what it runs; what the program leaves behind of its own will stays.
//
//	run CODEFILE DIR LINE      LINE is handed to the program as it stands
func run(args []string) (int, error) {
	if len(args) != 3 {
		return 2, errors.New("usage: lab run CODEFILE DIR LINE")
	}
	if err := os.Chdir(args[1]); err != nil {
		return 1, err
	}
	release, err := leash()
	if err != nil {
		return 1, err
	}

	cmd := &exec.Cmd{SysProcAttr: &syscall.SysProcAttr{CmdLine: args[2]}, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	cmd.Path, err = program(args[2])
	if err != nil {
		return 1, err
	}
	err = cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		return 1, err
	}
	release()
	code := uint32(cmd.ProcessState.ExitCode())
	return int(code & 0xff), os.WriteFile(args[0], fmt.Append(nil, code), 0o644)
}

// program is the file of a command line's first word.
func program(line string) (string, error) {
	words, err := split(line)
	if err != nil {
		return "", err
	}
	return exec.LookPath(words[0])
}

func split(line string) ([]string, error) {
	p, err := syscall.UTF16PtrFromString(line)
	if err != nil {
		return nil, err
	}
	var n int32
	argv, err := syscall.CommandLineToArgv(p, &n)
	if err != nil {
		return nil, err
	}
	words := make([]string, n)
	for i := range words {
		words[i] = syscall.UTF16ToString(argv[i][:])
	}
	return words, nil
}

var (
	kernel32     = syscall.NewLazyDLL("kernel32.dll")
	createJob    = kernel32.NewProc("CreateJobObjectW")
	setJob       = kernel32.NewProc("SetInformationJobObject")
	assignToJob  = kernel32.NewProc("AssignProcessToJobObject")
	extendedInfo = 9 // JobObjectExtendedLimitInformation
)

// jobLimits is JOBOBJECT_EXTENDED_LIMIT_INFORMATION.
type jobLimits struct {
	perProcessUserTime, perJobUserTime int64
	flags                              uint32
	minWorkingSet, maxWorkingSet       uintptr
	activeProcesses                    uint32
	affinity                           uintptr
	priority, scheduling               uint32
	io                                 [6]uint64
	memory                             [4]uintptr
}

// leash ends the children of this process with it, until release.
func leash() (release func(), err error) {
	const killOnClose, breakawayOK = 0x2000, 0x800
	job, _, err := createJob.Call(0, 0)
	if job == 0 {
		return nil, fmt.Errorf("create a job: %w", err)
	}
	limit := func(flags uint32) error {
		l := jobLimits{flags: flags}
		if ok, _, err := setJob.Call(job, uintptr(extendedInfo), uintptr(unsafe.Pointer(&l)), unsafe.Sizeof(l)); ok == 0 {
			return fmt.Errorf("limit a job: %w", err)
		}
		return nil
	}
	if err := limit(killOnClose | breakawayOK); err != nil {
		return nil, err
	}
	self, _ := syscall.GetCurrentProcess()
	if ok, _, err := assignToJob.Call(job, uintptr(self)); ok == 0 {
		return nil, fmt.Errorf("join a job: %w", err)
	}
	return func() { _ = limit(breakawayOK) }, nil
}

package host

import (
	"os/exec"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// job is what a program and all that it starts are in, so that cancelling ends them together.
type job struct {
	mu     sync.Mutex
	handle windows.Handle
}

// ownGroup makes cancelling end the program's children too. What is returned is called when the program has started; it is
// given up with what that returns, which leaves alone what the program leaves behind when it ends by itself.
func ownGroup(cmd *exec.Cmd) (started func() (release func())) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.HideWindow = true
	j := &job{}
	cmd.Cancel = func() error {
		if j.end() {
			return nil
		}
		return cmd.Process.Kill()
	}
	return func() func() {
		j.take(uint32(cmd.Process.Pid))
		return j.release
	}
}

// take puts a process into the job. Where that fails, cancelling ends the process alone.
func (j *job) take(pid uint32) {
	j.mu.Lock()
	defer j.mu.Unlock()
	h, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return
	}
	// A program that asks for it may leave the job with what it starts: some would fail otherwise.
	limits := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{}
	limits.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_BREAKAWAY_OK
	_, _ = windows.SetInformationJobObject(h, windows.JobObjectExtendedLimitInformation, uintptr(unsafe.Pointer(&limits)), uint32(unsafe.Sizeof(limits)))
	p, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, pid)
	if err == nil {
		err = windows.AssignProcessToJobObject(h, p)
		windows.CloseHandle(p)
	}
	if err != nil {
		windows.CloseHandle(h)
		return
	}
	j.handle = h
}

// end ends all that is in it, and says whether there was anything.
func (j *job) end() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.handle != 0 && windows.TerminateJobObject(j.handle, 1) == nil
}

func (j *job) release() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.handle != 0 {
		windows.CloseHandle(j.handle)
		j.handle = 0
	}
}

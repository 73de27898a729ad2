package winrm

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// native runs lines with cmd.exe, each in a job of its own, as winrshost.exe does: the job ends with the command, and
// lets go only of what breaks away.
type native struct{}

type windowsProcess struct {
	*started
	job windows.Handle
}

var ntResumeProcess = windows.NewLazySystemDLL("ntdll.dll").NewProc("NtResumeProcess")

func (native) Start(c Command) (Process, error) {
	var cmd *exec.Cmd
	line := c.Line
	if c.SkipShell {
		name := line
		if args, err := windows.DecomposeCommandLine(line); err == nil && len(args) > 0 {
			name = args[0]
		}
		path, err := exec.LookPath(name)
		if err != nil {
			return nil, windows.ERROR_FILE_NOT_FOUND
		}
		cmd = exec.Command(path)
	} else {
		cmd = exec.Command(os.Getenv("SystemRoot") + `\system32\cmd.exe`)
		line = "cmd.exe /c " + line
	}
	cmd.Dir = c.Dir
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{CmdLine: line, CreationFlags: windows.CREATE_SUSPENDED | windows.CREATE_NEW_PROCESS_GROUP}
	p, err := pipes(cmd)
	if err != nil {
		return nil, err
	}
	job, err := newJob()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		windows.CloseHandle(job)
		return nil, err
	}
	// Suspended, so that nothing is started before the job has it.
	h, err := windows.OpenProcess(windows.PROCESS_ALL_ACCESS, false, uint32(cmd.Process.Pid))
	if err == nil {
		err = windows.AssignProcessToJobObject(job, h)
		ntResumeProcess.Call(uintptr(h))
		windows.CloseHandle(h)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		windows.CloseHandle(job)
		return nil, fmt.Errorf("put the process into a job: %w", err)
	}
	return &windowsProcess{p, job}, nil
}

func newJob() (windows.Handle, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return 0, err
	}
	var info windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	info.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | windows.JOB_OBJECT_LIMIT_BREAKAWAY_OK
	_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation, uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
	return job, err
}

func (p *windowsProcess) Wait() uint32 {
	_ = p.cmd.Wait()
	return uint32(p.cmd.ProcessState.ExitCode())
}

// Interrupt is Ctrl-C where the process has a console. Programs of a service have none that could be told: they end with its code.
func (p *windowsProcess) Interrupt() { _ = windows.TerminateJobObject(p.job, 0xC000013A) }

func (p *windowsProcess) Kill() { _ = windows.TerminateJobObject(p.job, 1) }

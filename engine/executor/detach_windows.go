package executor

import (
	"context"
	"errors"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
	"golang.org/x/sys/windows/svc/mgr"
)

// On Windows a run is carried out by a service of its own, which is the system's (LocalSystem), wherever we may make one: so it
// belongs to no session, may do what remote logons may not (Windows Update), and is started again when the machine is. It
// is removed at the run's end. Without the right to that, a process does it that neither a session's end nor its job ends; what
// it began waits for the controller after a restart of the machine.

func runnerArgs(exe string, o Options, run string) []string {
	return []string{exe, "-dir", o.Dir, "-root", o.Root, "-run", run}
}

const servicePrefix = "fitout-run-"

func serviceName(run string) string { return servicePrefix + run }

// begun tells a service that a session has started it, and not the machine's start.
const begun = "begun"

// AtBoot says of a service's arguments whether the machine's start has started it.
func AtBoot(args []string) bool { return len(args) < 2 || args[1] != begun }

// Detach starts a runner that outlives the session.
func Detach(ctx context.Context, o Options, run string) error {
	exe, err := executorOf(o, run)
	if err != nil {
		return err
	}
	args := runnerArgs(exe, o, run)
	if o.Root == "/" {
		if err := startService(ctx, run, args); err == nil { // who may not is told so by the service manager
			return nil
		}
	}
	return spawnRunner(args)
}

// startService makes the run's service and starts it, or starts that which an earlier session has made. One that has just ended
// gets the time to go.
func startService(ctx context.Context, run string, args []string) error {
	m, err := mgr.Connect()
	if err != nil {
		return err
	}
	defer m.Disconnect()
	for deadline := time.Now().Add(5 * time.Second); ; {
		err := tryService(m, run, args)
		again := errors.Is(err, windows.ERROR_SERVICE_MARKED_FOR_DELETE) || errors.Is(err, windows.ERROR_SERVICE_ALREADY_RUNNING) ||
			errors.Is(err, windows.ERROR_SERVICE_EXISTS)
		if !again || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func tryService(m *mgr.Mgr, run string, args []string) error {
	name := serviceName(run)
	s, err := m.OpenService(name)
	if errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST) {
		s, err = m.CreateService(name, args[0], mgr.Config{StartType: mgr.StartManual, ErrorControl: mgr.ErrorNormal,
			DisplayName: "fitout: a run that was begun from elsewhere"}, append(args[1:], "-service", name)...)
	}
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Start(begun)
}

// HoldTogether ends what this process starts when it is killed: the next one of its run would do it again, side by side. What
// still runs after release stays.
func HoldTogether() (release func()) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return func() {}
	}
	limit := func(flags uint32) error {
		info := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{BasicLimitInformation: windows.JOBOBJECT_BASIC_LIMIT_INFORMATION{LimitFlags: flags}}
		_, err := windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation, uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
		return err
	}
	const breakaway = windows.JOB_OBJECT_LIMIT_BREAKAWAY_OK
	if limit(windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE|breakaway) != nil || windows.AssignProcessToJobObject(job, windows.CurrentProcess()) != nil {
		windows.CloseHandle(job)
		return func() {}
	}
	return func() { _ = limit(breakaway) }
}

// bury has nothing to do: what a runner has started ends with it.
func bury(Options, string) {}

// stopping says whether the machine goes down.
func stopping(o Options) bool {
	const shuttingDown = 0x2000 // SM_SHUTTINGDOWN
	r, _, _ := getSystemMetrics.Call(shuttingDown)
	return o.Root == "/" && r != 0
}

var getSystemMetrics = windows.NewLazySystemDLL("user32.dll").NewProc("GetSystemMetrics")

// unit starts a run again after the machine has: its service does, once it is told to start with the machine.
type unit struct{}

var bootUnit unit

// install says whether anything will start the run again.
func (unit) install(o Options, run string) bool {
	if o.Root != "/" || !o.Detached {
		return false
	}
	return withService(run, func(s *mgr.Service) error {
		const same = windows.SERVICE_NO_CHANGE
		return windows.ChangeServiceConfig(s.Handle, same, windows.SERVICE_AUTO_START, same, nil, nil, nil, nil, nil, nil, nil)
	}) == nil
}

// remove lets the service go; the service manager forgets it when its process has ended.
func (unit) remove(o Options, run string) {
	if o.Root == "/" {
		withService(run, func(s *mgr.Service) error { return s.Delete() })
	}
}

func withService(run string, do func(*mgr.Service) error) error {
	m, err := mgr.Connect()
	if err != nil {
		return err
	}
	defer m.Disconnect()
	s, err := m.OpenService(serviceName(run))
	if err != nil {
		return err
	}
	defer s.Close()
	return do(s)
}

// sweep removes the services of runs that are no more. The registry names them a hundred times faster than the service manager.
func (unit) sweep(o Options) {
	if o.Root != "/" {
		return
	}
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, `SYSTEM\CurrentControlSet\Services`, registry.ENUMERATE_SUB_KEYS)
	if err != nil {
		return
	}
	defer k.Close()
	names, _ := k.ReadSubKeyNames(0)
	for _, name := range names {
		run, ours := strings.CutPrefix(name, servicePrefix)
		if !ours {
			continue
		}
		if st, err := readState(o.Dir, run); err == nil && !st.ended {
			continue
		}
		err := withService(run, func(s *mgr.Service) error { return s.Delete() })
		if errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST) { // a crash while it was made or deleted: only the registry knows it
			registry.DeleteKey(k, name)
		}
	}
}

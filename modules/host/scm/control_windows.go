package scm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fitout-dev/fitout/modules/hint"
	"golang.org/x/sys/windows"
)

const (
	// patience is how long a service may be starting or stopping without a sign of life; it may ask for more.
	patience = 30 * time.Second
	// most is how long it may take however lively it is.
	most = 5 * time.Minute
)

// Start starts a service, with those that it depends on, and returns when it runs.
func (m *Manager) Start(ctx context.Context, name string) error {
	handle, err := m.open(name, "start", windows.SERVICE_START|windows.SERVICE_QUERY_STATUS)
	if err != nil {
		return err
	}
	defer windows.CloseServiceHandle(handle)
	m.h.Step("start service", name)
	if err := windows.StartService(handle, 0, nil); err != nil && !errors.Is(err, windows.ERROR_SERVICE_ALREADY_RUNNING) {
		return failed("start", name, err)
	}
	status, err := await(ctx, handle, name, "start", Running)
	if err != nil {
		return err
	}
	if State(status.CurrentState) != Running {
		return ended(name, status)
	}
	return nil
}

// ended says why a service that was to run has ended.
func ended(name string, status windows.SERVICE_STATUS_PROCESS) error {
	why := "without an error"
	switch {
	case windows.Errno(status.Win32ExitCode) == windows.ERROR_SERVICE_SPECIFIC_ERROR:
		why = fmt.Sprintf("with its own code %d", status.ServiceSpecificExitCode)
	case status.Win32ExitCode != 0:
		why = "with " + windows.Errno(status.Win32ExitCode).Error()
	}
	return hint.New(fmt.Errorf("start service %s: it has ended at once, %s", name, why), "the device's event log (System, Application) may say more")
}

// Stop stops a service, and before it those that depend on it and run. It returns when all have stopped, with the names of
// those that were running, the service itself last.
func (m *Manager) Stop(ctx context.Context, name string) (stopped []string, err error) {
	before, err := m.dependents(name)
	if err != nil {
		return nil, err
	}
	for _, n := range append(before, name) {
		did, err := m.stop(ctx, n)
		if did {
			stopped = append(stopped, n)
		}
		if err != nil {
			return stopped, err
		}
	}
	return stopped, nil
}

func (m *Manager) stop(ctx context.Context, name string) (did bool, err error) {
	handle, err := m.open(name, "stop", windows.SERVICE_STOP|windows.SERVICE_QUERY_STATUS)
	if errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer windows.CloseServiceHandle(handle)
	status, err := query(handle, name)
	if err != nil || State(status.CurrentState) == Stopped {
		return false, err
	}
	if State(status.CurrentState) == StartPending { // it takes no orders before it runs
		if status, err = await(ctx, handle, name, "wait for the start of", Running); err != nil {
			return false, err
		}
	}
	if s := State(status.CurrentState); s != StopPending && s != Stopped {
		m.h.Step("stop service", name)
		var answer windows.SERVICE_STATUS
		err := windows.ControlService(handle, windows.SERVICE_CONTROL_STOP, &answer)
		if errors.Is(err, windows.ERROR_INVALID_SERVICE_CONTROL) {
			return false, hint.New(failed("stop", name, err), "this service can't be stopped while the machine runs")
		}
		if err != nil && !errors.Is(err, windows.ERROR_SERVICE_NOT_ACTIVE) {
			return false, failed("stop", name, err)
		}
	}
	_, err = await(ctx, handle, name, "stop", Stopped)
	return true, err
}

// Restart stops a service that runs, with those that depend on it, and starts all that ran.
func (m *Manager) Restart(ctx context.Context, name string) error {
	stopped, err := m.Stop(ctx, name)
	var failed []error
	for _, n := range slices.Backward(stopped) {
		failed = append(failed, m.Start(ctx, n)) // also where one wouldn't stop: the others ran before
	}
	return errors.Join(append([]error{err}, failed...)...)
}

// Reread tells a service that runs that its configuration has changed, and restarts it where it doesn't listen to that.
func (m *Manager) Reread(ctx context.Context, name string) error {
	handle, err := m.open(name, "tell", windows.SERVICE_PAUSE_CONTINUE|windows.SERVICE_QUERY_STATUS)
	if err != nil {
		return err
	}
	defer windows.CloseServiceHandle(handle)
	m.h.Step("tell service", name)
	var answer windows.SERVICE_STATUS
	err = windows.ControlService(handle, windows.SERVICE_CONTROL_PARAMCHANGE, &answer)
	switch {
	case errors.Is(err, windows.ERROR_SERVICE_NOT_ACTIVE):
		return nil
	case errors.Is(err, windows.ERROR_INVALID_SERVICE_CONTROL):
		return m.Restart(ctx, name)
	}
	return failed("tell", name, err)
}

// await waits until a service is in a state, or stopped, as long as it shows signs of life.
func await(ctx context.Context, handle windows.Handle, name, what string, wanted State) (windows.SERVICE_STATUS_PROCESS, error) {
	begun := time.Now()
	sign, last := begun, windows.SERVICE_STATUS_PROCESS{}
	for {
		status, err := query(handle, name)
		if err != nil {
			return status, err
		}
		if s := State(status.CurrentState); s == wanted || s == Stopped {
			return status, nil
		}
		if status.CheckPoint != last.CheckPoint || status.CurrentState != last.CurrentState {
			sign, last = time.Now(), status
		}
		hinted := time.Duration(status.WaitHint) * time.Millisecond
		if quiet := max(patience, hinted); time.Since(sign) > quiet || time.Since(begun) > most {
			return status, hint.New(fmt.Errorf("%s service %s: it is %s since %s", what, name, State(status.CurrentState), time.Since(begun).Round(time.Second)),
				"look at process %d on the device", status.ProcessId)
		}
		select {
		case <-ctx.Done():
			return status, fmt.Errorf("%s service %s: %w", what, name, context.Cause(ctx))
		case <-time.After(min(max(hinted/10, 25*time.Millisecond), time.Second)):
		}
	}
}

// Delete stops a service and removes it. It returns when it is gone.
func (m *Manager) Delete(ctx context.Context, name string) error {
	if _, err := m.Stop(ctx, name); err != nil {
		return err
	}
	handle, err := m.open(name, "remove", windows.DELETE)
	if errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST) {
		return nil
	}
	if err != nil {
		return err
	}
	m.h.Step("remove service", name)
	err = windows.DeleteService(handle)
	windows.CloseServiceHandle(handle)
	if err != nil && !errors.Is(err, windows.ERROR_SERVICE_MARKED_FOR_DELETE) {
		return failed("remove", name, err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		s, err := m.Look(name)
		if s == nil {
			return err
		}
		if time.Now().After(deadline) {
			return failed("remove", name, windows.ERROR_SERVICE_MARKED_FOR_DELETE)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove service %s: %w", name, context.Cause(ctx))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

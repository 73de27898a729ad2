package scm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

const servicesKey = `SYSTEM\CurrentControlSet\Services`

// Manager is a conversation with the service control manager.
type Manager struct {
	h      *host.Host
	handle windows.Handle
}

// Open begins a conversation, with the right to make services where this process has it.
func Open(h *host.Host) (*Manager, error) {
	if !h.Living() {
		return nil, host.ErrNeedsSystem
	}
	const look = windows.SC_MANAGER_CONNECT | windows.SC_MANAGER_ENUMERATE_SERVICE
	handle, err := windows.OpenSCManager(nil, nil, look|windows.SC_MANAGER_CREATE_SERVICE)
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		handle, err = windows.OpenSCManager(nil, nil, look)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to the service control manager: %w", err)
	}
	return &Manager{h, handle}, nil
}

// Close ends the conversation.
func (m *Manager) Close() error { return windows.CloseServiceHandle(m.handle) }

// open opens a service; an error says what that was for.
func (m *Manager) open(name, what string, access uint32) (windows.Handle, error) {
	n, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return 0, err
	}
	s, err := windows.OpenService(m.handle, n, access)
	return s, failed(what, name, err)
}

func failed(what, name string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s service %s: %w", what, name, err)
	switch {
	case errors.Is(err, windows.ERROR_ACCESS_DENIED):
		return hint.New(err, "connect as an administrator; some services of Windows refuse even them")
	case errors.Is(err, windows.ERROR_SERVICE_DISABLED):
		return hint.New(err, "it, or a service that it depends on, is disabled: `masked: false`, or `start: manual`, lets it run")
	case errors.Is(err, windows.ERROR_SERVICE_LOGON_FAILED):
		return hint.New(err, "the password is wrong, or the account may not log on as a service (SeServiceLogonRight)")
	case errors.Is(err, windows.ERROR_SERVICE_MARKED_FOR_DELETE):
		return hint.New(err, "it goes when nothing has it open any more: close Services and Task Manager on the device, or restart it")
	case errors.Is(err, windows.ERROR_INVALID_SERVICE_ACCOUNT):
		return hint.New(err, `no such account, or its password is missing: DOMAIN\name, .\name, LocalSystem, LocalService or NetworkService`)
	}
	return err
}

// Look tells of a service, or nil where there is none.
func (m *Manager) Look(name string) (*Service, error) {
	handle, err := m.open(name, "look at", windows.SERVICE_QUERY_STATUS)
	if errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST) || errors.Is(err, windows.ERROR_INVALID_NAME) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer windows.CloseServiceHandle(handle)
	status, err := query(handle, name)
	if err != nil {
		return nil, err
	}
	s, err := configOf(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // it goes just now
	}
	if err != nil {
		return nil, err
	}
	s.State, s.PID = State(status.CurrentState), status.ProcessId
	return s, nil
}

func query(handle windows.Handle, name string) (windows.SERVICE_STATUS_PROCESS, error) {
	var status windows.SERVICE_STATUS_PROCESS
	var needed uint32
	err := windows.QueryServiceStatusEx(handle, windows.SC_STATUS_PROCESS_INFO, (*byte)(unsafe.Pointer(&status)), uint32(unsafe.Sizeof(status)), &needed)
	return status, failed("look at", name, err)
}

// configOf reads a service's configuration.
func configOf(name string) (*Service, error) {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, servicesKey+`\`+name, registry.QUERY_VALUE|registry.WOW64_64KEY)
	if err != nil {
		return nil, fmt.Errorf("configuration of service %s: %w", name, err)
	}
	defer k.Close()
	text := func(value string) *string {
		s, _, err := k.GetStringValue(value)
		if err != nil {
			s = ""
		}
		return &s
	}
	number := func(value string) uint32 {
		n, _, _ := k.GetIntegerValue(value)
		return uint32(n)
	}
	const interactive = 0x100
	kind := number("Type") &^ interactive
	s := &Service{Name: name, Driver: kind&0xf != 0, Shared: kind&0x20 != 0}
	start := startName(number("Start"), number("DelayedAutostart") != 0)
	s.Config = Config{Start: &start, Program: text("ImagePath"), DisplayName: text("DisplayName"), Description: text("Description"), Account: text("ObjectName"), Dependencies: []string{}}
	if *s.Config.DisplayName == "" {
		*s.Config.DisplayName = name // as all tools show it
	}
	if list, _, err := k.GetStringsValue("DependOnService"); err == nil {
		s.Config.Dependencies = append(s.Config.Dependencies, list...)
	}
	if list, _, err := k.GetStringsValue("DependOnGroup"); err == nil {
		for _, g := range list {
			s.Config.Dependencies = append(s.Config.Dependencies, "+"+strings.TrimPrefix(g, "+"))
		}
	}
	s.Config.Dependencies = slices.DeleteFunc(s.Config.Dependencies, func(d string) bool { return d == "" || d == "+" })
	if b, _, err := k.GetBinaryValue("FailureActions"); err == nil {
		s.Config.Recovery = parseFailureActions(b)
	}
	return s, nil
}

// Names lists all services.
func (m *Manager) Names() ([]string, error) {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, servicesKey, registry.ENUMERATE_SUB_KEYS|registry.WOW64_64KEY)
	if err != nil {
		return nil, fmt.Errorf("list services: %w", err)
	}
	defer k.Close()
	names, err := k.ReadSubKeyNames(-1)
	if err != nil {
		return nil, fmt.Errorf("list services: %w", err)
	}
	return names, nil
}

// Create makes a service with a process of its own; c has at least its program.
func (m *Manager) Create(name string, c Config) error {
	start := Manual
	if c.Start != nil {
		start = *c.Start
	}
	number, _ := startNumber(start)
	x := texts{}
	display := c.DisplayName
	if display == nil {
		display = &name
	}
	n, program, shown := x.text(&name), x.text(c.Program), x.text(display)
	account, password, dependencies := x.account(c.Account), x.text(c.Password), x.list(c.Dependencies)
	if x.err != nil {
		return failed("make", name, x.err)
	}
	m.h.Step("make service", name)
	handle, err := windows.CreateService(m.handle, n, shown, windows.SERVICE_ALL_ACCESS, windows.SERVICE_WIN32_OWN_PROCESS, number,
		windows.SERVICE_ERROR_NORMAL, program, nil, nil, dependencies, account, password)
	if err != nil {
		return failed("make", name, err)
	}
	windows.CloseServiceHandle(handle)
	rest := Config{Description: c.Description, Recovery: c.Recovery}
	if start == Delayed {
		rest.Start = &start
	}
	return m.Configure(name, rest)
}

// Configure changes what c sets.
func (m *Manager) Configure(name string, c Config) error {
	const same = windows.SERVICE_NO_CHANGE
	access := uint32(windows.SERVICE_CHANGE_CONFIG)
	if c.Recovery != nil {
		access |= windows.SERVICE_START // as restarts ask for it
	}
	handle, err := m.open(name, "configure", access)
	if err != nil {
		return err
	}
	defer windows.CloseServiceHandle(handle)
	x := texts{}
	start := uint32(same)
	var delayed bool
	if c.Start != nil {
		start, delayed = startNumber(*c.Start)
	}
	now, err := configOf(name)
	if err != nil {
		return err
	}
	needs := c.Dependencies
	if needs == nil { // said again, since Wine takes nothing for none
		needs = now.Config.Dependencies
	}
	program, shown, account, password, dependencies := x.text(c.Program), x.text(c.DisplayName), x.account(c.Account), x.text(c.Password), x.list(needs)
	description := x.text(c.Description)
	if x.err != nil {
		return failed("configure", name, x.err)
	}
	if *now.Config.Start == Delayed && c.Start != nil && !delayed { // as long as it is one that can be
		if err := m.delay(handle, name, false); err != nil {
			return err
		}
	}
	if start != same || program != nil || shown != nil || account != nil || password != nil || c.Dependencies != nil {
		m.h.Step("configure service", name)
		err := windows.ChangeServiceConfig(handle, same, start, same, program, nil, nil, dependencies, account, password, shown)
		if err != nil {
			return failed("configure", name, err)
		}
	}
	if delayed {
		if err := m.delay(handle, name, true); err != nil {
			return err
		}
	}
	if description != nil {
		m.h.Step("describe service", name)
		info := windows.SERVICE_DESCRIPTION{Description: description}
		if err := windows.ChangeServiceConfig2(handle, windows.SERVICE_CONFIG_DESCRIPTION, (*byte)(unsafe.Pointer(&info))); err != nil {
			return failed("describe", name, err)
		}
	}
	if c.Recovery != nil {
		return m.recover(handle, name, c.Recovery)
	}
	return nil
}

func (m *Manager) delay(handle windows.Handle, name string, delayed bool) error {
	info := windows.SERVICE_DELAYED_AUTO_START_INFO{}
	if delayed {
		info.IsDelayedAutoStartUp = 1
	}
	m.h.Step("delay service", name)
	return failed("delay the start of", name, windows.ChangeServiceConfig2(handle, windows.SERVICE_CONFIG_DELAYED_AUTO_START_INFO, (*byte)(unsafe.Pointer(&info))))
}

func (m *Manager) recover(handle windows.Handle, name string, list []Action) error {
	const day = 24 * 60 * 60 // seconds without a failure, after which the next one is the first again
	var all []windows.SC_ACTION
	for _, a := range list {
		all = append(all, windows.SC_ACTION{Type: a.Type, Delay: uint32(a.After.Milliseconds())})
	}
	info := windows.SERVICE_FAILURE_ACTIONS{ResetPeriod: day, ActionsCount: uint32(len(all)), Actions: &windows.SC_ACTION{}}
	if len(all) > 0 {
		info.Actions = &all[0]
	}
	m.h.Step("set recovery of service", name)
	return failed("set the recovery of", name, windows.ChangeServiceConfig2(handle, windows.SERVICE_CONFIG_FAILURE_ACTIONS, (*byte)(unsafe.Pointer(&info))))
}

// texts makes texts for Windows, and keeps the first error.
type texts struct{ err error }

func (x *texts) text(s *string) *uint16 {
	if s == nil {
		return nil
	}
	p, err := windows.UTF16PtrFromString(*s)
	x.err = errors.Join(x.err, err)
	return p
}

func (x *texts) account(s *string) *uint16 {
	if s == nil {
		return nil
	}
	full := fullAccount(*s)
	return x.text(&full)
}

// list is texts that each end with a NUL, and another one at the end.
func (x *texts) list(list []string) *uint16 {
	if list == nil {
		return nil
	}
	var all []uint16
	for _, s := range list {
		u, err := windows.UTF16FromString(s)
		x.err = errors.Join(x.err, err)
		all = append(all, u...)
	}
	all = append(all, 0, 0)
	return &all[0]
}

// dependents are the services that need another one, those that need them included: the last to be started first.
func (m *Manager) dependents(name string) ([]string, error) {
	all, err := m.Names()
	if err != nil {
		return nil, err
	}
	needs := map[string][]string{}
	for _, n := range all {
		s, err := configOf(n)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, windows.ERROR_ACCESS_DENIED) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, d := range s.Config.Dependencies {
			needs[strings.ToLower(d)] = append(needs[strings.ToLower(d)], n)
		}
	}
	var out []string
	var visit func(n string, depth int)
	visit = func(n string, depth int) {
		for _, d := range needs[strings.ToLower(n)] {
			if depth > len(all) { // a circle
				return
			}
			visit(d, depth+1)
			if !slices.Contains(out, d) {
				out = append(out, d)
			}
		}
	}
	visit(name, 0)
	return out, nil
}

// parseFailureActions reads what the manager keeps in the value FailureActions: five numbers of 32 bits, of which the fourth
// is how many actions follow, and for each action its type and its delay in milliseconds.
func parseFailureActions(b []byte) []Action {
	const header = 20
	if len(b) < header {
		return nil
	}
	n := int(binary.LittleEndian.Uint32(b[12:]))
	list := []Action{}
	for i := header; n > 0 && i+8 <= len(b); i, n = i+8, n-1 {
		list = append(list, Action{binary.LittleEndian.Uint32(b[i:]), time.Duration(binary.LittleEndian.Uint32(b[i+4:])) * time.Millisecond})
	}
	return list
}

// fullAccount is how the manager wants Windows' own accounts.
func fullAccount(s string) string {
	switch plainAccount(s) {
	case "localsystem":
		return "LocalSystem"
	case "localservice":
		return `NT AUTHORITY\LocalService`
	case "networkservice":
		return `NT AUTHORITY\NetworkService`
	}
	if !strings.ContainsAny(s, `\@`) {
		return `.\` + s
	}
	return s
}

// startNumber is a start's number, and whether it is delayed.
func startNumber(s string) (n uint32, delayed bool) {
	switch s {
	case Auto:
		return 2, false
	case Delayed:
		return 2, true
	case Manual:
		return 3, false
	}
	return 4, false
}

func startName(n uint32, delayed bool) string {
	switch {
	case n == 2 && delayed:
		return Delayed
	case n < 5:
		return []string{"boot", "system", Auto, Manual, Disabled}[n]
	}
	return "start " + strconv.Itoa(int(n))
}

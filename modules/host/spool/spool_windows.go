// Package spool knows the printers of a Windows machine: https://learn.microsoft.com/windows/win32/printdocs/printing-and-print-spooler-functions
//
//	p, err := spool.Find("Office")                  // nil where there is none
//	err = spool.AddPort(h, `C:\out.prn`)
//	err = spool.Add(h, spool.Printer{Name: "Office", Port: `C:\out.prn`, Driver: "Generic"})
package spool

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/user32"
	"golang.org/x/sys/windows"
)

var (
	winspool      = windows.NewLazySystemDLL("winspool.drv")
	openPrinter   = winspool.NewProc("OpenPrinterW")
	closePrinter  = winspool.NewProc("ClosePrinter")
	getPrinter    = winspool.NewProc("GetPrinterW")
	setPrinter    = winspool.NewProc("SetPrinterW")
	addPrinter    = winspool.NewProc("AddPrinterW")
	deletePrinter = winspool.NewProc("DeletePrinter")
	enumPorts     = winspool.NewProc("EnumPortsW")
	xcvData       = winspool.NewProc("XcvDataW")
	getDefault    = winspool.NewProc("GetDefaultPrinterW")
	setDefault    = winspool.NewProc("SetDefaultPrinterW")
)

// Printer is a queue.
type Printer struct{ Name, Port, Driver, Comment, Location string }

const (
	allAccess    = 0x000F000C // PRINTER_ALL_ACCESS
	serverAccess = 0x00000001 // SERVER_ACCESS_ADMINISTER
)

// defaults is PRINTER_DEFAULTS.
type defaults struct {
	datatype *uint16
	mode     uintptr
	access   uint32
}

// info2 is PRINTER_INFO_2.
type info2 struct {
	server, name, share, port, driver, comment, location *uint16
	mode                                                 uintptr
	separator, processor, datatype, parameters           *uint16
	security                                             uintptr
	attributes, priority, defaultPriority                uint32
	start, until, status, jobs, speed                    uint32
}

func text(s string) *uint16 {
	p, err := windows.UTF16PtrFromString(s)
	if err != nil { // a NUL, which no declared name has
		return new(uint16)
	}
	return p
}

func ptr(p *uint16) uintptr { return uintptr(unsafe.Pointer(p)) }

func open(name string, access uint32) (handle uintptr, err error) {
	user32.Begin()
	d := defaults{access: access}
	if ok, _, err := openPrinter.Call(ptr(text(name)), uintptr(unsafe.Pointer(&handle)), uintptr(unsafe.Pointer(&d))); ok == 0 {
		return 0, err
	}
	return handle, nil
}

// invalidName is ERROR_INVALID_PRINTER_NAME.
const invalidName = windows.Errno(1801)

// Find finds a printer of this machine, or nil.
func Find(name string) (*Printer, error) {
	handle, err := open(name, 0x8) // PRINTER_ACCESS_USE
	if errors.Is(err, invalidName) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open printer %s: %w", name, err)
	}
	defer closePrinter.Call(handle)
	_, p, err := read(handle, name)
	return p, err
}

// read reads a queue; what info2 points to lives as long as buf.
func read(handle uintptr, name string) (buf []uint64, p *Printer, err error) {
	size := uint32(4096)
	for range 3 {
		buf = make([]uint64, size/8+1)
		ok, _, err := getPrinter.Call(handle, 2, uintptr(unsafe.Pointer(&buf[0])), uintptr(8*len(buf)), uintptr(unsafe.Pointer(&size)))
		if ok != 0 {
			i := (*info2)(unsafe.Pointer(&buf[0]))
			s := windows.UTF16PtrToString
			return buf, &Printer{s(i.name), s(i.port), s(i.driver), s(i.comment), s(i.location)}, nil
		}
		if !errors.Is(err, windows.ERROR_INSUFFICIENT_BUFFER) {
			return nil, nil, fmt.Errorf("read printer %s: %w", name, err)
		}
	}
	return nil, nil, fmt.Errorf("read printer %s: it grows", name)
}

// Add makes a queue.
func Add(h *host.Host, p Printer) error {
	i := info2{name: text(p.Name), port: text(p.Port), driver: text(p.Driver), comment: text(p.Comment), location: text(p.Location),
		processor: text("WinPrint"), datatype: text("RAW")}
	h.Step("add printer", p.Name)
	handle, _, err := addPrinter.Call(0, 2, uintptr(unsafe.Pointer(&i)))
	if handle == 0 {
		if errors.Is(err, windows.Errno(1797)) { // ERROR_UNKNOWN_PRINTER_DRIVER
			return hint.New(fmt.Errorf("add printer %s: the driver %q isn't installed", p.Name, p.Driver), "install it first, or take one that `Get-PrinterDriver` lists")
		}
		return fmt.Errorf("add printer %s: %w", p.Name, err)
	}
	closePrinter.Call(handle)
	return nil
}

// Change gives a queue what p says.
func Change(h *host.Host, p Printer) error {
	handle, err := open(p.Name, allAccess)
	if err != nil {
		return fmt.Errorf("open printer %s: %w", p.Name, err)
	}
	defer closePrinter.Call(handle)
	buf, _, err := read(handle, p.Name)
	if err != nil {
		return err
	}
	i := (*info2)(unsafe.Pointer(&buf[0]))
	i.port, i.driver, i.comment, i.location, i.security = text(p.Port), text(p.Driver), text(p.Comment), text(p.Location), 0
	h.Step("change printer", p.Name)
	if ok, _, err := setPrinter.Call(handle, 2, uintptr(unsafe.Pointer(i)), 0); ok == 0 {
		return fmt.Errorf("change printer %s: %w", p.Name, err)
	}
	return nil
}

// Remove removes a queue; that it isn't there is no error.
func Remove(h *host.Host, name string) error {
	handle, err := open(name, allAccess)
	if errors.Is(err, invalidName) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open printer %s: %w", name, err)
	}
	defer closePrinter.Call(handle)
	h.Step("remove printer", name)
	if ok, _, err := deletePrinter.Call(handle); ok == 0 {
		return fmt.Errorf("remove printer %s: %w", name, err)
	}
	return nil
}

// HasPort says whether a port is there.
func HasPort(name string) (bool, error) {
	size, n := uint32(4096), uint32(0)
	for range 3 {
		buf := make([]uint64, size/8+1)
		ok, _, err := enumPorts.Call(0, 1, uintptr(unsafe.Pointer(&buf[0])), uintptr(8*len(buf)), uintptr(unsafe.Pointer(&size)), uintptr(unsafe.Pointer(&n)))
		if ok != 0 {
			return slices.ContainsFunc(unsafe.Slice((**uint16)(unsafe.Pointer(&buf[0])), n), func(p *uint16) bool {
				return strings.EqualFold(windows.UTF16PtrToString(p), name)
			}), nil
		}
		if !errors.Is(err, windows.ERROR_INSUFFICIENT_BUFFER) {
			return false, fmt.Errorf("list printer ports: %w", err)
		}
	}
	return false, errors.New("list printer ports: they grow")
}

// AddPort makes a local port: a file that is printed to, a device, or \\server\queue.
func AddPort(h *host.Host, name string) error { return monitor(h, "AddPort", "add printer port", name) }

// RemovePort removes one.
func RemovePort(h *host.Host, name string) error {
	return monitor(h, "DeletePort", "remove printer port", name)
}

func monitor(h *host.Host, command, what, name string) error {
	handle, err := open(",XcvMonitor Local Port", serverAccess)
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, name, err)
	}
	defer closePrinter.Call(handle)
	data, err := windows.UTF16FromString(name)
	if err != nil {
		return err
	}
	var needed, status uint32
	h.Step(what, name)
	ok, _, err := xcvData.Call(handle, ptr(text(command)), uintptr(unsafe.Pointer(&data[0])), uintptr(2*len(data)), 0, 0, uintptr(unsafe.Pointer(&needed)), uintptr(unsafe.Pointer(&status)))
	if ok == 0 {
		return fmt.Errorf("%s %s: %w", what, name, err)
	}
	if status != 0 {
		return fmt.Errorf("%s %s: %w", what, name, windows.Errno(status))
	}
	return nil
}

// Default is the default printer of the user whom fitout runs as, or "".
func Default() (string, error) {
	buf := make([]uint16, 1024)
	size := uint32(len(buf))
	ok, _, err := getDefault.Call(ptr(&buf[0]), uintptr(unsafe.Pointer(&size)))
	if ok == 0 && !errors.Is(err, windows.ERROR_FILE_NOT_FOUND) {
		return "", fmt.Errorf("default printer: %w", err)
	}
	return windows.UTF16ToString(buf), nil
}

// SetDefault makes a printer the default one of the user whom fitout runs as.
func SetDefault(h *host.Host, name string) error {
	h.Step("make the default printer", name)
	if ok, _, err := setDefault.Call(ptr(text(name))); ok == 0 {
		return fmt.Errorf("make %s the default printer: %w", name, err)
	}
	return nil
}

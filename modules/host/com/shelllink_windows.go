package com

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

// ShellLink is what a shortcut (.lnk) holds. https://learn.microsoft.com/windows/win32/api/shobjidl_core/nn-shobjidl_core-ishelllinkw
type ShellLink struct {
	Target, Arguments, Directory, Description string
	Icon                                      string
	IconIndex                                 int32
	Hotkey                                    uint16 // the key, and above it 1 for shift, 2 for control, 4 for alt
	Show                                      int32  // 1 normal, 3 maximized, 7 minimized
}

var (
	shellLink      = guid("{00021401-0000-0000-C000-000000000046}")
	iShellLink     = guid("{000214F9-0000-0000-C000-000000000046}")
	iPersistFile   = guid("{0000010B-0000-0000-C000-000000000046}")
	iPersistStream = guid("{00000109-0000-0000-C000-000000000046}")
)

func guid(s string) windows.GUID {
	g, err := windows.GUIDFromString(s)
	if err != nil {
		panic(err)
	}
	return g
}

// ReadShellLink reads a shortcut.
func ReadShellLink(path string) (ShellLink, error) {
	var l ShellLink
	err := withLink(path, func(o Object) (err error) {
		l, err = get(o, path)
		return err
	})
	return l, err
}

// showOf is how the window opens, as the file's header says: Wine doesn't tell what it has read.
// https://learn.microsoft.com/openspecs/windows_protocols/ms-shllink
func showOf(path string) (int32, error) {
	const at = 60
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var b [4]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return 0, fmt.Errorf("read shortcut %s: %w", path, err)
	}
	return int32(binary.LittleEndian.Uint32(b[:])), nil
}

// ChangeShellLink is a shortcut's content after change: all that change doesn't know of stays. Without a path it is a new one.
func ChangeShellLink(path string, change func(*ShellLink)) (content []byte, err error) {
	err = withLink(path, func(o Object) error {
		before, err := get(o, path)
		if err != nil {
			return err
		}
		after := before
		change(&after)
		if err := set(o, before, after); err != nil {
			return err
		}
		content, err = save(o)
		return err
	})
	return content, err
}

func withLink(path string, do func(Object) error) error {
	return Do(func() error {
		o, err := Create(shellLink, iShellLink)
		if err != nil {
			return err
		}
		defer o.Release()
		if path == "" {
			return do(o)
		}
		file, err := o.Query(iPersistFile)
		if err != nil {
			return err
		}
		defer file.Release()
		p, err := windows.UTF16PtrFromString(path)
		if err != nil {
			return err
		}
		const read = 0x40 // STGM_READ | STGM_SHARE_DENY_NONE
		if err := file.Call("read shortcut "+path, 5, uintptr(unsafe.Pointer(p)), read); err != nil {
			return err
		}
		return do(o)
	})
}

func get(o Object, path string) (ShellLink, error) {
	var l ShellLink
	var errs error
	buf := make([]uint16, 32768)
	text := func(what string, method int, flags uintptr) string {
		buf[0] = 0
		errs = errors.Join(errs, o.Call("read a shortcut's "+what, method, uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), 0, flags))
		return windows.UTF16ToString(buf)
	}
	const raw = 4 // with %NAME% as it stands
	l.Target = text("target", 3, raw)
	l.Description, l.Directory, l.Arguments = text("description", 6, 0), text("folder", 8, 0), text("arguments", 10, 0)
	buf[0] = 0
	errs = errors.Join(errs, o.Call("read a shortcut's icon", 16, uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), uintptr(unsafe.Pointer(&l.IconIndex))))
	l.Icon = windows.UTF16ToString(buf)
	errs = errors.Join(errs, o.Call("read a shortcut's key", 12, uintptr(unsafe.Pointer(&l.Hotkey))))
	l.Show = windows.SW_SHOWNORMAL
	if path != "" {
		var err error
		l.Show, err = showOf(path)
		errs = errors.Join(errs, err)
	}
	return l, errs
}

func set(o Object, before, after ShellLink) error {
	var errs error
	text := func(what string, method int, changed bool, s string, index int32) {
		if !changed {
			return
		}
		p, err := windows.UTF16PtrFromString(s)
		if err == nil {
			err = o.Call("set a shortcut's "+what, method, uintptr(unsafe.Pointer(p)), uintptr(index))
		}
		errs = errors.Join(errs, err)
	}
	text("target", 20, before.Target != after.Target, after.Target, 0)
	text("arguments", 11, before.Arguments != after.Arguments, after.Arguments, 0)
	text("folder", 9, before.Directory != after.Directory, after.Directory, 0)
	text("description", 7, before.Description != after.Description, after.Description, 0)
	text("icon", 17, before.Icon != after.Icon || before.IconIndex != after.IconIndex, after.Icon, after.IconIndex)
	return errors.Join(errs, o.Call("set a shortcut's key", 13, uintptr(after.Hotkey)), o.Call("set a shortcut's window", 15, uintptr(after.Show)))
}

// save is the shortcut's content, through a stream in memory: what goes to the file goes there in one piece.
func save(o Object) ([]byte, error) {
	persist, err := o.Query(iPersistStream)
	if err != nil {
		return nil, err
	}
	defer persist.Release()
	var stream Object
	if r, _, _ := createStreamOnHGlobal.Call(0, 1, uintptr(unsafe.Pointer(&stream))); int32(r) < 0 {
		return nil, fmt.Errorf("make a stream: %w", Result(r))
	}
	defer stream.Release()
	if err := persist.Call("write a shortcut", 6, uintptr(unsafe.Pointer(stream.table)), 1); err != nil {
		return nil, err
	}
	if err := stream.Call("rewind", 5, 0, 0, 0); err != nil {
		return nil, err
	}
	var content []byte
	for buf := make([]byte, 4096); ; {
		var n uint32
		if err := stream.Call("read a stream", 3, uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), uintptr(unsafe.Pointer(&n))); err != nil {
			return nil, err
		}
		if n == 0 {
			return content, nil
		}
		content = append(content, buf[:n]...)
	}
}

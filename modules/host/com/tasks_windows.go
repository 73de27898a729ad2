package com

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Tasks of the Task Scheduler, version 2: https://learn.microsoft.com/windows/win32/api/taskschd

var (
	taskScheduler = guid("{0f87369f-a4e5-4cfc-bd3e-73e6154572dd}")
	iTaskService  = guid("{2faba4c7-4da9-4013-9697-20cc3fd40f85}")
)

// variant is an empty VARIANT, or one that holds a text.
type variant struct {
	kind   uint16
	_      [3]uint16
	text   BSTR
	record uintptr
}

const vtBSTR = 8

// Tasks is a conversation with the scheduler.
type Tasks struct{ service Object }

// WithTasks connects to the scheduler, for the time of do.
func WithTasks(do func(Tasks) error) error {
	return Do(func() error {
		o, err := Create(taskScheduler, iTaskService)
		if err != nil {
			return err
		}
		defer o.Release()
		// Large structures go by reference to a copy; those are empty: this machine, this user.
		var none [4]variant
		err = o.Call("connect to the task scheduler", 10, uintptr(unsafe.Pointer(&none[0])), uintptr(unsafe.Pointer(&none[1])), uintptr(unsafe.Pointer(&none[2])), uintptr(unsafe.Pointer(&none[3])))
		if err != nil {
			return err
		}
		return do(Tasks{o})
	})
}

// folder opens a folder of tasks.
func (t Tasks) folder(path string) (Object, error) {
	var f Object
	name, err := NewBSTR(path)
	if err != nil {
		return f, err
	}
	defer name.Free()
	return f, t.service.Call("open task folder "+path, 7, uintptr(name), uintptr(unsafe.Pointer(&f)))
}

func split(path string) (folder, name string) {
	i := strings.LastIndexByte(path, '\\')
	return `\` + strings.TrimPrefix(path[:i], `\`), path[i+1:]
}

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// Read is a task's definition in XML; found is false where there is no such task.
func (t Tasks) Read(path string) (text string, found bool, err error) {
	dir, name := split(path)
	f, err := t.folder(dir)
	if err != nil {
		if missing(err) {
			err = nil
		}
		return "", false, err
	}
	defer f.Release()
	n, err := NewBSTR(name)
	if err != nil {
		return "", false, err
	}
	defer n.Free()
	var task Object
	if err := f.Call("open task "+path, 13, uintptr(n), uintptr(unsafe.Pointer(&task))); err != nil {
		if missing(err) {
			err = nil
		}
		return "", false, err
	}
	defer task.Release()
	var b BSTR
	if err := task.Call("read task "+path, 20, uintptr(unsafe.Pointer(&b))); err != nil {
		return "", false, err
	}
	defer b.Free()
	return b.String(), true, nil
}

// Write makes a task, or replaces its definition; folders that are missing are made. logon is a TASK_LOGON_TYPE.
func (t Tasks) Write(path, text string, user, password *string, logon uint32) error {
	dir, name := split(path)
	f, err := t.makeFolder(dir)
	if err != nil {
		return err
	}
	defer f.Release()
	n, err := NewBSTR(name)
	if err != nil {
		return err
	}
	defer n.Free()
	x, err := NewBSTR(text)
	if err != nil {
		return err
	}
	defer x.Free()
	var who, secret, rights variant
	for _, v := range []struct {
		text *string
		to   *variant
	}{{user, &who}, {password, &secret}} {
		if v.text == nil {
			continue
		}
		b, err := NewBSTR(*v.text)
		if err != nil {
			return err
		}
		defer b.Free()
		v.to.kind, v.to.text = vtBSTR, b
	}
	const createOrUpdate = 6
	var task Object
	err = f.Call("register task "+path, 16, uintptr(n), uintptr(x), createOrUpdate, uintptr(unsafe.Pointer(&who)), uintptr(unsafe.Pointer(&secret)),
		uintptr(logon), uintptr(unsafe.Pointer(&rights)), uintptr(unsafe.Pointer(&task)))
	runtime.KeepAlive(&who)
	if err != nil {
		return err
	}
	task.Release()
	return nil
}

func (t Tasks) makeFolder(path string) (Object, error) {
	f, err := t.folder(path)
	if err == nil || !missing(err) {
		return f, err
	}
	root, err := t.folder(`\`)
	if err != nil {
		return f, err
	}
	defer root.Release()
	n, err := NewBSTR(path)
	if err != nil {
		return f, err
	}
	defer n.Free()
	var rights variant
	err = root.Call("make task folder "+path, 11, uintptr(n), uintptr(unsafe.Pointer(&rights)), uintptr(unsafe.Pointer(&f)))
	if errors.Is(err, windows.ERROR_ALREADY_EXISTS) {
		return t.folder(path)
	}
	return f, err
}

// Remove removes a task; that it isn't there is no error.
func (t Tasks) Remove(path string) error {
	dir, name := split(path)
	f, err := t.folder(dir)
	if err != nil {
		if missing(err) {
			return nil
		}
		return err
	}
	defer f.Release()
	n, err := NewBSTR(name)
	if err != nil {
		return err
	}
	defer n.Free()
	if err := f.Call("remove task "+path, 15, uintptr(n), 0); err != nil && !missing(err) {
		return fmt.Errorf("task %s: %w", path, err)
	}
	return nil
}

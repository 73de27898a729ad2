package setup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"unsafe"

	"golang.org/x/sys/windows"
)

// WinHTTP, and not net/http: it is there already, and knows the machine's proxy and its trusted certificates.
// https://learn.microsoft.com/windows/win32/winhttp/about-winhttp
var (
	winhttp          = windows.NewLazySystemDLL("winhttp.dll")
	httpOpen         = winhttp.NewProc("WinHttpOpen")
	httpConnect      = winhttp.NewProc("WinHttpConnect")
	httpOpenRequest  = winhttp.NewProc("WinHttpOpenRequest")
	httpSendRequest  = winhttp.NewProc("WinHttpSendRequest")
	httpReceive      = winhttp.NewProc("WinHttpReceiveResponse")
	httpQueryHeaders = winhttp.NewProc("WinHttpQueryHeaders")
	httpReadData     = winhttp.NewProc("WinHttpReadData")
	httpCloseHandle  = winhttp.NewProc("WinHttpCloseHandle")
)

type body struct {
	ctx     context.Context
	handles []uintptr // the request last
}

// Fetch opens what a URL leads to. Its caller knows the hash: whether the way there can be trusted doesn't matter.
func Fetch(ctx context.Context, address string) (io.ReadCloser, error) {
	b := &body{ctx: ctx}
	if err := b.open(address); err != nil {
		return nil, errors.Join(fmt.Errorf("download %s: %w", address, err), b.Close())
	}
	return b, nil
}

func (b *body) open(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	port, flags := 80, uintptr(0)
	if u.Scheme == "https" {
		port, flags = 443, 0x00800000 // WINHTTP_FLAG_SECURE
	}
	if u.Port() != "" {
		if port, err = strconv.Atoi(u.Port()); err != nil {
			return err
		}
	}
	agent, host, verb, path := wide("fitout"), wide(u.Hostname()), wide("GET"), wide(u.RequestURI())
	const defaultProxy = 0 // WINHTTP_ACCESS_TYPE_DEFAULT_PROXY: what netsh winhttp has set
	if err := b.keep(httpOpen.Call(ptr(agent), defaultProxy, 0, 0, 0)); err != nil {
		return err
	}
	if err := b.keep(httpConnect.Call(b.last(), ptr(host), uintptr(port), 0)); err != nil {
		return err
	}
	if err := b.keep(httpOpenRequest.Call(b.last(), ptr(verb), ptr(path), 0, 0, 0, flags)); err != nil {
		return err
	}
	if ok, _, err := httpSendRequest.Call(b.last(), 0, 0, 0, 0, 0, 0); ok == 0 {
		return httpError(err)
	}
	if ok, _, err := httpReceive.Call(b.last(), 0); ok == 0 {
		return httpError(err)
	}
	const statusNumber = 19 | 0x20000000 // WINHTTP_QUERY_STATUS_CODE, as a number
	var status, size uint32 = 0, 4
	if ok, _, err := httpQueryHeaders.Call(b.last(), statusNumber, 0, uintptr(unsafe.Pointer(&status)), uintptr(unsafe.Pointer(&size)), 0); ok == 0 {
		return httpError(err)
	}
	if status != 200 {
		return fmt.Errorf("the server answers with status %d", status)
	}
	return nil
}

func wide(s string) *uint16 {
	p, err := windows.UTF16PtrFromString(s)
	if err != nil { // a NUL, which no parsed URL has
		return new(uint16)
	}
	return p
}

func ptr(p *uint16) uintptr { return uintptr(unsafe.Pointer(p)) }

func (b *body) keep(handle, _ uintptr, err error) error {
	if handle == 0 {
		return httpError(err)
	}
	b.handles = append(b.handles, handle)
	return nil
}

func (b *body) last() uintptr { return b.handles[len(b.handles)-1] }

func (b *body) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, context.Cause(b.ctx)
	}
	if len(p) == 0 {
		return 0, nil
	}
	var n uint32
	if ok, _, err := httpReadData.Call(b.last(), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), uintptr(unsafe.Pointer(&n))); ok == 0 {
		return 0, httpError(err)
	}
	if n == 0 {
		return 0, io.EOF
	}
	return int(n), nil
}

func (b *body) Close() error {
	for i := len(b.handles) - 1; i >= 0; i-- {
		httpCloseHandle.Call(b.handles[i])
	}
	b.handles = nil
	return nil
}

// httpError says in words what WinHTTP's numbers mean, for which Windows has no messages where it looks for others.
func httpError(err error) error {
	code, _ := err.(windows.Errno)
	if w := map[windows.Errno]string{
		12002: "the server took too long",
		12005: "the address is wrong",
		12007: "the server's name isn't known",
		12029: "the server can't be reached",
		12030: "the connection was cut",
		12175: "the server's certificate isn't trusted",
	}[code]; w != "" {
		return fmt.Errorf("%s (%d)", w, uint32(code))
	}
	return err
}

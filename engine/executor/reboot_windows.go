package executor

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/privilege"
	"golang.org/x/sys/windows"
)

// promised is how long Windows may take to begin with a restart that it has promised, before its own tool is asked for it.
const promised = 5 * time.Second

// restartMachine tells the machine to restart, whatever programs say to that: those who are logged on were warned.
func restartMachine(ctx context.Context, h *host.Host, reason string) error {
	err := initiateRestart("fitout: " + reason)
	if errors.Is(err, windows.ERROR_SHUTDOWN_IN_PROGRESS) {
		return nil
	}
	if err == nil {
		// Some other program may have it cancelled, too.
		time.AfterFunc(promised, func() { h.Run(context.WithoutCancel(ctx), host.Cmd{Args: []string{"shutdown", "/r", "/f", "/t", "0"}}) })
		return nil
	}
	if _, toolErr := h.Must(ctx, host.Cmd{Args: []string{"shutdown", "/r", "/f", "/t", "0"}}); toolErr != nil {
		return errors.Join(err, toolErr)
	}
	return nil
}

func initiateRestart(text string) error {
	if err := privilege.Enable("SeShutdownPrivilege"); err != nil {
		return err
	}
	message, err := windows.UTF16PtrFromString(text)
	if err != nil {
		return err
	}
	const reason = windows.SHTDN_REASON_MAJOR_OPERATINGSYSTEM | windows.SHTDN_REASON_MINOR_RECONFIG | windows.SHTDN_REASON_FLAG_PLANNED
	if err := windows.InitiateSystemShutdownEx(nil, message, 0, true, true, reason); err != nil {
		return fmt.Errorf("restart Windows: %w", err)
	}
	return nil
}

var (
	wtsapi32                   = windows.NewLazySystemDLL("wtsapi32.dll")
	wtsQuerySessionInformation = wtsapi32.NewProc("WTSQuerySessionInformationW")
	wtsSendMessage             = wtsapi32.NewProc("WTSSendMessageW")
)

// people are the sessions in which somebody is logged on before a screen, or has left work: not that of services, and not ours.
func people() (sessions []uint32) {
	var first *windows.WTS_SESSION_INFO
	var n uint32
	if windows.WTSEnumerateSessions(0, 0, 1, &first, &n) != nil || first == nil {
		return nil
	}
	defer windows.WTSFreeMemory(uintptr(unsafe.Pointer(first)))
	for _, s := range unsafe.Slice(first, n) {
		if s.SessionID != 0 && (s.State == windows.WTSActive || s.State == windows.WTSDisconnected) && userOf(s.SessionID) != "" {
			sessions = append(sessions, s.SessionID)
		}
	}
	return sessions
}

func userOf(session uint32) string {
	const userName = 5
	var name *uint16
	var bytes uint32
	if wtsQuerySessionInformation.Find() != nil {
		return ""
	}
	if ok, _, _ := wtsQuerySessionInformation.Call(0, uintptr(session), userName, uintptr(unsafe.Pointer(&name)), uintptr(unsafe.Pointer(&bytes))); ok == 0 || name == nil {
		return ""
	}
	defer windows.WTSFreeMemory(uintptr(unsafe.Pointer(name)))
	return windows.UTF16PtrToString(name)
}

// loggedOn says whether a person is logged on.
func loggedOn(context.Context, *host.Host) bool { return len(people()) > 0 }

// warnAll shows a text to those who are logged on, and waits for none of them.
func warnAll(ctx context.Context, h *host.Host, text string) error {
	title := windows.StringToUTF16("fitout")
	message, err := windows.UTF16FromString(text)
	if err != nil {
		return err
	}
	if err := wtsSendMessage.Find(); err != nil {
		return err
	}
	const warning = 0x30 | 0x10000 // MB_ICONWARNING | MB_SETFOREGROUND
	var failed error
	for _, s := range people() {
		var answer uint32
		ok, _, err := wtsSendMessage.Call(0, uintptr(s), uintptr(unsafe.Pointer(&title[0])), uintptr(2*(len(title)-1)),
			uintptr(unsafe.Pointer(&message[0])), uintptr(2*(len(message)-1)), warning, 0, uintptr(unsafe.Pointer(&answer)), 0)
		if ok == 0 {
			failed = fmt.Errorf("show a warning in session %d: %w", s, err)
		}
	}
	return failed
}

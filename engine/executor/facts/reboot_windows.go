package facts

import (
	"encoding/binary"
	"fmt"
	"iter"
	"strings"
	"unicode/utf16"

	"github.com/fitout-dev/fitout/modules/host"
	"golang.org/x/sys/windows/registry"
)

const (
	servicing = `SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending`
	updates   = `SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired`
	manager   = `SYSTEM\CurrentControlSet\Control\Session Manager`
	nameNow   = `SYSTEM\CurrentControlSet\Control\ComputerName\ActiveComputerName`
	nameThen  = `SYSTEM\CurrentControlSet\Control\ComputerName\ComputerName`
	netlogon  = `SYSTEM\CurrentControlSet\Services\Netlogon`
)

// RebootPending says why the device wants to be restarted, or "": what Windows itself goes by. Files that are but to be removed
// at the next start are no reason: programs leave such things behind all the time.
func RebootPending(h *host.Host) string {
	if !h.Living() {
		return ""
	}
	var why []string
	add := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	if exists(servicing) {
		add("parts of Windows were changed")
	}
	if exists(updates) {
		add("updates of Windows were installed")
	}
	if files := renamed(); len(files) == 1 {
		add("%s was in use, and is replaced at the next start", files[0])
	} else if len(files) > 1 {
		add("%s and %d more files were in use, and are replaced at the next start", files[0], len(files)-1)
	}
	now, then := text(nameNow, "ComputerName"), text(nameThen, "ComputerName")
	if now != "" && then != "" && !strings.EqualFold(now, then) {
		add("the computer is to be called %s", then)
	}
	if text(netlogon, "JoinDomain") != "" || text(netlogon, "AvoidSpnSet") != "" {
		add("the computer has joined or left a domain")
	}
	return strings.Join(why, "; ")
}

// renamed are the files that get another one's content at the next start.
func renamed() (files []string) {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, manager, registry.QUERY_VALUE|registry.WOW64_64KEY)
	if err != nil {
		return nil
	}
	defer k.Close()
	for _, value := range []string{"PendingFileRenameOperations", "PendingFileRenameOperations2"} {
		for to := range pairs(k, value) {
			if to != "" {
				files = append(files, strings.TrimPrefix(strings.TrimPrefix(to, "!"), `\??\`))
			}
		}
	}
	return files
}

// pairs goes through the second of each two strings of a value. It may be empty, where the registry package would see an end.
func pairs(k registry.Key, value string) iter.Seq[string] {
	return func(yield func(string) bool) {
		n, _, err := k.GetValue(value, nil)
		if err != nil || n == 0 {
			return
		}
		b := make([]byte, n)
		if n, _, err = k.GetValue(value, b); err != nil {
			return
		}
		units := make([]uint16, n/2)
		for i := range units {
			units[i] = binary.LittleEndian.Uint16(b[2*i:])
		}
		texts := strings.Split(string(utf16.Decode(units)), "\x00")
		for i := 1; i < len(texts) && texts[i-1] != ""; i += 2 {
			if !yield(texts[i]) {
				return
			}
		}
	}
}

func exists(key string) bool {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, key, registry.QUERY_VALUE|registry.WOW64_64KEY)
	if err != nil {
		return false
	}
	k.Close()
	return true
}

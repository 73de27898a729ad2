package settings

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// Shortcut is a shortcut of Windows (.lnk), as they lie on the desktop and in the start menu. What isn't declared stays, such as
// whether it runs as an administrator.
type Shortcut struct {
	// The shortcut's file: an absolute path that ends with .lnk. The desktop of all users is C:\Users\Public\Desktop, their start
	// menu C:\ProgramData\Microsoft\Windows\Start Menu\Programs.
	Path string `json:"path" fit:"key,path" title:"Path" pattern:"^[A-Za-z]:\\\\(.*[^.\\\\])?\\.[Ll][Nn][Kk]$" example:"C:\\Users\\Public\\Desktop\\Example.lnk"`
	// The program, document or folder that it opens: an absolute path.
	Target *string `json:"target,omitzero" fit:"managed" title:"Target" example:"C:\\Program Files\\Example\\example.exe"`
	// What the program gets, as one command line.
	Arguments *string `json:"arguments,omitzero" fit:"managed,argv" title:"Arguments" example:"--kiosk"`
	// The folder that the program runs in.
	WorkingDirectory *string `json:"workingDirectory,omitzero" fit:"managed" title:"Working directory" example:"C:\\Program Files\\Example"`
	// The file with its icon (.ico, .exe or .dll), and after a comma the icon's number in it, from 0; left out, it is the first.
	Icon *string `json:"icon,omitzero" fit:"managed" title:"Icon" example:"C:\\Program Files\\Example\\example.exe,0"`
	// What is shown when the mouse rests on it.
	Description *string `json:"description,omitzero" fit:"managed" title:"Description" example:"The company's catalogue"`
	// The keys that open it from the desktop and the start menu: Ctrl, Alt and Shift, two of them at least, and a letter, a
	// digit or F1 to F24; "" for none.
	Hotkey *string `json:"hotkey,omitzero" fit:"managed" title:"Hotkey" example:"Ctrl+Alt+E"`
	// How the program's window opens.
	Window *string `json:"window,omitzero" fit:"managed" title:"Window" enum:"normal,maximized,minimized" example:"maximized"`
	State  string  `json:"state,omitzero" fit:"state" enum:"present,absent" title:"State"`
	// The file as it is.
	Content *host.Blob `json:"content,omitzero" fit:"observed,undo" title:"Content"`
}

// Shortcuts implements Shortcut.
type Shortcuts struct{}

var (
	_ modules.Resource[Shortcut] = Shortcuts{}
	_ modules.Checker[Shortcut]  = Shortcuts{}
	_ modules.Comparer[Shortcut] = Shortcuts{}
	_ modules.Inverter[Shortcut] = Shortcuts{}
	_ modules.Keeper[Shortcut]   = Shortcuts{}
)

// Platforms are where the type exists.
func (Shortcuts) Platforms() []string { return []string{"windows"} }

// Check finds what can be no shortcut.
func (Shortcuts) Check(want Shortcut) error {
	if !strings.HasSuffix(strings.ToLower(want.Path), ".lnk") || len(want.Path) < 4 || want.Path[1:3] != `:\` || strings.Contains(want.Path, `\..\`) || strings.ContainsRune(want.Path, 0) {
		return fmt.Errorf(`path: %q is no absolute path of a shortcut, such as C:\Users\Public\Desktop\Example.lnk`, want.Path)
	}
	if want.State == modules.Absent || want.Content != nil {
		return nil
	}
	switch {
	case want.Target == nil:
		return errors.New("target: missing")
	case strings.Contains(*want.Target, "://"):
		return hint.New(fmt.Errorf("target: %s is an address", *want.Target), "declare a file with the extension .url, and the lines [InternetShortcut] and URL=..., under files")
	case strings.Contains(*want.Target, "%") || !(len(*want.Target) > 2 && (*want.Target)[1:3] == `:\` || strings.HasPrefix(*want.Target, `\\`)):
		return fmt.Errorf(`target: %q is no absolute path, such as C:\Program Files\Example\example.exe`, *want.Target)
	}
	if want.Hotkey != nil {
		if _, err := parseHotkey(*want.Hotkey); err != nil {
			return fmt.Errorf("hotkey: %w", err)
		}
	}
	for name, s := range map[string]*string{"arguments": want.Arguments, "workingDirectory": want.WorkingDirectory, "icon": want.Icon, "description": want.Description} {
		if s != nil && strings.ContainsAny(*s, "\x00\n") {
			return fmt.Errorf("%s: %q isn't one line", name, *s)
		}
	}
	return nil
}

// Observe reads the shortcut.
func (s Shortcuts) Observe(_ context.Context, h *host.Host, want Shortcut) (Shortcut, error) {
	if err := s.Check(want); err != nil {
		return Shortcut{Path: want.Path, State: modules.Absent}, err
	}
	return readShortcut(h, want)
}

// Apply writes or removes the shortcut.
func (s Shortcuts) Apply(_ context.Context, h *host.Host, want, _ Shortcut) (modules.Outcome, error) {
	if err := s.Check(want); err != nil {
		return modules.Outcome{}, err
	}
	switch {
	case want.State == modules.Absent:
		return modules.Outcome{}, h.Remove(want.Path)
	case want.Content != nil:
		b, err := h.OpenBlob(*want.Content)
		if err != nil {
			return modules.Outcome{}, fmt.Errorf("content of %s: %w", want.Path, err)
		}
		defer b.Close()
		return modules.Outcome{}, h.Write(want.Path, b, host.Attr{})
	}
	return modules.Outcome{}, writeShortcut(h, want)
}

// Compare knows that Windows' paths don't mind case, and that keys have an order.
func (Shortcuts) Compare(property string, want, have Shortcut) (met, ok bool) {
	fold := func(a, b *string) (bool, bool) { return b != nil && strings.EqualFold(*a, *b), true }
	switch property {
	case "target":
		return fold(want.Target, have.Target)
	case "workingDirectory":
		return fold(want.WorkingDirectory, have.WorkingDirectory)
	case "icon":
		a, i := parseIcon(*want.Icon)
		b, j := parseIcon(value(have.Icon))
		return strings.EqualFold(a, b) && i == j, true
	case "hotkey":
		a, errA := parseHotkey(*want.Hotkey)
		b, errB := parseHotkey(value(have.Hotkey))
		return errA == nil && errB == nil && a == b, true
	}
	return false, false
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// Inverse puts back the file as it was.
func (Shortcuts) Inverse(_, have Shortcut) (Shortcut, error) {
	return Shortcut{Path: have.Path, State: have.State, Content: have.Content}, nil
}

// Contents is the file as it was.
func (Shortcuts) Contents(want, have Shortcut) []modules.Content {
	if have.Content == nil || want.Content != nil && *want.Content == *have.Content {
		return nil
	}
	return []modules.Content{{Property: "content", Path: have.Path, Blob: *have.Content}}
}

// parseIcon divides an icon's file from its number.
func parseIcon(s string) (file string, index int32) {
	if i := strings.LastIndexByte(s, ','); i >= 0 {
		if n, err := strconv.ParseInt(strings.TrimSpace(s[i+1:]), 10, 32); err == nil {
			return s[:i], int32(n)
		}
	}
	return s, 0
}

var modifiers = []string{"shift", "ctrl", "alt"} // from the lowest bit on

// parseHotkey reads keys as IShellLink has them: the key, and above it the modifiers.
func parseHotkey(s string) (uint16, error) {
	if s == "" {
		return 0, nil
	}
	parts := strings.Split(strings.ToLower(s), "+")
	var keys uint16
	count := 0
	for _, p := range parts[:len(parts)-1] {
		i := slices.Index(modifiers, strings.TrimSpace(p))
		if i < 0 || keys&(1<<(8+i)) != 0 {
			return 0, fmt.Errorf("%s: %q is none of Ctrl, Alt and Shift, or it is there twice", s, p)
		}
		keys |= 1 << (8 + i)
		count++
	}
	key := strings.TrimSpace(parts[len(parts)-1])
	n, err := strconv.Atoi(strings.TrimPrefix(key, "f"))
	switch {
	case len(key) == 1 && (key[0] >= 'a' && key[0] <= 'z' || key[0] >= '0' && key[0] <= '9'):
		if count < 2 {
			return 0, fmt.Errorf("%s: a letter or digit needs two of Ctrl, Alt and Shift", s)
		}
		return keys | uint16(strings.ToUpper(key)[0]), nil
	case strings.HasPrefix(key, "f") && err == nil && n >= 1 && n <= 24:
		return keys | uint16(0x70+n-1), nil
	}
	return 0, fmt.Errorf("%s: %q is no letter, digit or F1 to F24", s, key)
}

func formatHotkey(keys uint16) string {
	if keys == 0 {
		return ""
	}
	var parts []string
	for _, i := range []int{1, 2, 0} { // as Windows shows them: Ctrl, Alt, Shift
		if keys&(1<<(8+i)) != 0 {
			parts = append(parts, strings.ToUpper(modifiers[i][:1])+modifiers[i][1:])
		}
	}
	key := keys & 0xff
	switch {
	case key >= 0x70 && key <= 0x87:
		parts = append(parts, "F"+strconv.Itoa(int(key)-0x70+1))
	case key >= '0' && key <= '9', key >= 'A' && key <= 'Z':
		parts = append(parts, string(rune(key)))
	default:
		parts = append(parts, fmt.Sprintf("key %#x", key))
	}
	return strings.Join(parts, "+")
}

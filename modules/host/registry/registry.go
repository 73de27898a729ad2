// Package registry is the registry of Windows: keys and values of all types, in the views of 64- and 32-bit programs, in the
// machine's hives and in those of its users.
//
//	hive, key, err := registry.Split(`HKLM\SOFTWARE\Example`)
//	roots, release, err := registry.Open(h, hive, "alice")    // the hives that this is about: one, or one for each user
//	defer release()
//	v, err := roots[0].Get(key, "Setting", registry.View64)   // nil where there is none
//	err = roots[0].Set(h, key, "Setting", registry.View64, registry.DWord(1))
//
// A user's hive is HKEY_USERS\SID while that user is logged on. Otherwise Open loads the NTUSER.DAT of the profile, and release
// unloads it again. What is here for all platforms decides nothing on a device: paths, and values with their bytes.
package registry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/fitout-dev/fitout/modules/hint"
)

// Hives, by their short names.
const (
	LocalMachine = "HKLM"
	CurrentUser  = "HKCU"
	Users        = "HKU"
	ClassesRoot  = "HKCR"
)

var hives = map[string]string{
	"HKLM": LocalMachine, "HKEY_LOCAL_MACHINE": LocalMachine,
	"HKCU": CurrentUser, "HKEY_CURRENT_USER": CurrentUser,
	"HKU": Users, "HKEY_USERS": Users,
	"HKCR": ClassesRoot, "HKEY_CLASSES_ROOT": ClassesRoot,
}

// Users that a profile can name beside those that have an account.
const (
	AllUsers    = "all"     // who have a profile on the machine
	DefaultUser = "default" // whom the profiles of new users are copied from
)

// Bounds of Windows: https://learn.microsoft.com/windows/win32/sysinfo/registry-element-size-limits
const (
	maxKeyName   = 255
	maxValueName = 16383
	maxDepth     = 512
)

// Split divides a path into the hive's short name and the key below it.
func Split(path string) (hive, key string, err error) {
	first, key, _ := strings.Cut(path, `\`)
	// As PowerShell's drives are written, too.
	hive, ok := hives[strings.ToUpper(strings.TrimSuffix(first, ":"))]
	switch {
	case strings.Contains(first, "/"):
		return "", "", hint.New(fmt.Errorf("%q has / between its parts", path), `write \, as in HKLM\SOFTWARE\Example`)
	case strings.EqualFold(first, "HKEY_CURRENT_CONFIG") || strings.EqualFold(first, "HKCC"):
		return "", "", hint.New(fmt.Errorf("%q: %s is made anew by Windows", path, first), `use HKLM\SYSTEM\CurrentControlSet\Hardware Profiles\Current`)
	case !ok:
		names := []string{LocalMachine, CurrentUser, Users, ClassesRoot}
		err = fmt.Errorf("%q begins with no hive", path)
		if near := hint.Near(strings.ToUpper(first), names); near != "" {
			return "", "", hint.New(err, "did you mean %s?", near)
		}
		return "", "", hint.New(err, "it begins with one of %s", strings.Join(names, ", "))
	case key == "":
		return "", "", fmt.Errorf("%q names no key below %s", path, hive)
	}
	parts := strings.Split(key, `\`)
	if len(parts) > maxDepth {
		return "", "", fmt.Errorf("%q has more than %d parts", path, maxDepth)
	}
	for _, p := range parts {
		switch {
		case p == "":
			return "", "", hint.New(fmt.Errorf("%q has an empty part", path), `a single \ parts two keys, and none stands at the end; in YAML, single quotes keep it as it is`)
		case len(utf16.Encode([]rune(p))) > maxKeyName:
			return "", "", fmt.Errorf("%q: %q is longer than %d characters", path, p, maxKeyName)
		}
	}
	if strings.ContainsRune(key, 0) || !utf8.ValidString(key) {
		return "", "", fmt.Errorf("%q holds what no key's name can", path)
	}
	if hive == Users && strings.HasPrefix(strings.ToLower(parts[0]), loadedPrefix) {
		return "", "", fmt.Errorf("%q is where fitout loads the hives of users for a moment", path)
	}
	return hive, key, nil
}

// loadedPrefix begins the names below HKEY_USERS under which hives are loaded.
const loadedPrefix = "fitout-"

// CheckValueName says why a value can't be called so. The empty name is the key's default value.
func CheckValueName(name string) error {
	if strings.ContainsRune(name, 0) || !utf8.ValidString(name) {
		return fmt.Errorf("%q holds what no value's name can", name)
	}
	if n := len(utf16.Encode([]rune(name))); n > maxValueName {
		return fmt.Errorf("a value's name has %d characters; %d are possible", n, maxValueName)
	}
	return nil
}

// Types of values, as in winnt.h.
const (
	None         = 0
	SZ           = 1
	ExpandSZ     = 2
	BinaryType   = 3
	DWordType    = 4
	DWordBE      = 5
	Link         = 6
	MultiSZ      = 7
	QWordType    = 11
	maxTypeKnown = 11
)

// TypeName is a type as Windows calls it.
func TypeName(t uint32) string {
	names := []string{"REG_NONE", "REG_SZ", "REG_EXPAND_SZ", "REG_BINARY", "REG_DWORD", "REG_DWORD_BIG_ENDIAN", "REG_LINK", "REG_MULTI_SZ",
		"REG_RESOURCE_LIST", "REG_FULL_RESOURCE_DESCRIPTOR", "REG_RESOURCE_REQUIREMENTS_LIST", "REG_QWORD"}
	if t <= maxTypeKnown {
		return names[t]
	}
	return fmt.Sprintf("type %#x", t)
}

// Value is a value as it is stored.
type Value struct {
	// The type's number.
	Type uint32 `json:"type" title:"Type"`
	// The bytes.
	Data []byte `json:"data" title:"Bytes"`
}

// Equal says whether two values are the same, type and bytes.
func (v Value) Equal(o Value) bool { return v.Type == o.Type && slices.Equal(v.Data, o.Data) }

// DWord is a REG_DWORD.
func DWord(n uint32) Value { return Value{DWordType, binary.LittleEndian.AppendUint32(nil, n)} }

// QWord is a REG_QWORD.
func QWord(n uint64) Value { return Value{QWordType, binary.LittleEndian.AppendUint64(nil, n)} }

// Binary is a REG_BINARY.
func Binary(b []byte) Value { return Value{BinaryType, b} }

// String is a REG_SZ.
func String(s string) Value { return Value{SZ, encode(s)} }

// Expand is a REG_EXPAND_SZ, in which programs replace %NAME%.
func Expand(s string) Value { return Value{ExpandSZ, encode(s)} }

// Strings is a REG_MULTI_SZ. An empty text in the midst would end it for those who read it.
func Strings(list []string) (Value, error) {
	v := Value{Type: MultiSZ}
	for _, s := range list {
		if s == "" {
			return v, errors.New("a list of texts can't hold an empty one: it ends the list")
		}
		v.Data = append(v.Data, encode(s)...)
	}
	if len(list) == 0 { // two of them, as Windows' own tools write it
		v.Data = append(v.Data, 0, 0)
	}
	v.Data = append(v.Data, 0, 0)
	return v, nil
}

// Text is a REG_SZ's or REG_EXPAND_SZ's text; programs write them with and without the NUL at the end.
func (v Value) Text() (string, bool) {
	if v.Type != SZ && v.Type != ExpandSZ || len(v.Data)%2 != 0 {
		return "", false
	}
	s, _, _ := strings.Cut(decode(v.Data), "\x00")
	return s, true
}

// List is a REG_MULTI_SZ's texts.
func (v Value) List() ([]string, bool) {
	if v.Type != MultiSZ || len(v.Data)%2 != 0 {
		return nil, false
	}
	list := []string{}
	for s := range strings.SplitSeq(decode(v.Data), "\x00") {
		if s == "" {
			break
		}
		list = append(list, s)
	}
	return list, true
}

// Number is a REG_DWORD's or REG_QWORD's.
func (v Value) Number() (uint64, bool) {
	switch {
	case v.Type == DWordType && len(v.Data) == 4:
		return uint64(binary.LittleEndian.Uint32(v.Data)), true
	case v.Type == QWordType && len(v.Data) == 8:
		return binary.LittleEndian.Uint64(v.Data), true
	}
	return 0, false
}

func encode(s string) []byte {
	var b []byte
	for _, u := range append(utf16.Encode([]rune(s)), 0) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func decode(b []byte) string {
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}

// View is for which programs a key is, on Windows for 64 bits: some keys exist once for each.
type View int

const (
	View64 View = 64
	View32 View = 32
)

// Tree is a key with all that is in it: the values by their names, for each key by its path below the first, which is "".
type Tree map[string]map[string]Value

// Equal says whether two trees hold the same.
func (t Tree) Equal(o Tree) bool {
	return maps.EqualFunc(t, o, func(a, b map[string]Value) bool { return maps.EqualFunc(a, b, Value.Equal) })
}

// ErrTooLarge says that a key has more in it than was asked for.
var ErrTooLarge = errors.New("it holds too much to be kept")

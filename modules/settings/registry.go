package settings

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/registry"
)

// RegistryValue is one value in the registry of Windows. Its key is made where it is missing; what else is in it stays.
// For whole keys there is registryKeys.
type RegistryValue struct {
	// The key: a hive (HKLM, HKCU, HKU, HKCR, or their long names) and the keys below it. In YAML write it in single
	// quotes, or plain: in double quotes each \ would have to be doubled. HKCU needs a user. HKCR is the machine's
	// part of it, HKLM\SOFTWARE\Classes.
	Path string `json:"path" fit:"key" title:"Key" example:"HKLM\\SOFTWARE\\Example"`
	// The value's name; left out, it is the key's default value.
	Name string `json:"name,omitzero" fit:"key" title:"Name" example:"Setting"`
	// Whose HKCU: a user's name or SID; all for everybody who has a profile on the machine; default for those who will
	// log on for the first time. The hives of users who aren't logged on are loaded for the moment (that is experimental).
	User string `json:"user,omitzero" fit:"key" experimental:"windows" title:"User" example:"alice"`
	// For programs of how many bits: some keys, such as HKLM\SOFTWARE, exist once for each.
	View int `json:"view,omitzero" fit:"behaviour" title:"View" minimum:"32" maximum:"64" default:"64"`
	// The value's type: REG_SZ is string, REG_EXPAND_SZ, whose %NAME% programs replace, expandString.
	Type *string `json:"type,omitzero" fit:"managed" title:"Type" enum:"dword,qword,string,expandString,multiString,binary,none" example:"dword"`
	// The value: for dword and qword a whole number, or its text, which may be hexadecimal ("0x1f"); for multiString a list of
	// texts; for binary and none hexadecimal digits, with blanks or commas between them as you like; else a text.
	Value *any   `json:"value,omitzero" fit:"managed" title:"Value" types:"string,integer,array" example:"1"`
	State string `json:"state,omitzero" fit:"state" enum:"present,absent" title:"State"`
	// What is there now, in each hive that this is about.
	Kept []KeptValue `json:"kept,omitzero" fit:"observed,undo" title:"Stored"`
}

// KeptValue is what one hive has.
type KeptValue struct {
	// Whose hive it is: a SID, or default; empty is the machine's.
	Hive string `json:"hive,omitzero" title:"Hive"`
	// What is stored; nothing where there is no such value.
	Stored *registry.Value `json:"stored,omitzero" title:"Value"`
	// The topmost key on the way that is missing.
	Missing string `json:"missing,omitzero" title:"Missing key"`
}

// RegistryValues implements RegistryValue.
type RegistryValues struct{}

var (
	_ modules.Resource[RegistryValue] = RegistryValues{}
	_ modules.Checker[RegistryValue]  = RegistryValues{}
	_ modules.Comparer[RegistryValue] = RegistryValues{}
	_ modules.Inverter[RegistryValue] = RegistryValues{}
	_ modules.Keyer[RegistryValue]    = RegistryValues{}
	_ modules.Referrer[RegistryValue] = RegistryValues{}
)

// Platforms are where the type exists.
func (RegistryValues) Platforms() []string { return []string{"windows"} }

// Key is the path with its hive's short name, the value's name, and whose and which it is where that isn't plain.
func (RegistryValues) Key(want RegistryValue) string {
	return strings.TrimSuffix(placeKey(want.Path, want.User, want.View)+"/"+want.Name, "/")
}

func placeKey(path, user string, view int) string {
	if hive, key, err := registry.Split(path); err == nil {
		path = hive + `\` + key
	}
	if user != "" {
		path = user + ":" + path
	}
	if view == 32 {
		path += " (32)"
	}
	return path
}

// Refs names the user, whose profile comes first, and the key.
func (RegistryValues) Refs(want RegistryValue) []string {
	return append(userRef(want.User), "registryKeys/"+placeKey(want.Path, want.User, want.View))
}

func userRef(user string) []string {
	if user == "" || user == "all" || user == "default" {
		return nil
	}
	return []string{"users/" + user}
}

// Check finds what the registry can't hold.
func (RegistryValues) Check(want RegistryValue) error {
	if err := checkPlace(want.Path, want.User, want.View); err != nil {
		return err
	}
	if err := registry.CheckValueName(want.Name); err != nil {
		return fmt.Errorf("name: %w", err)
	}
	if want.State == modules.Absent || want.Kept != nil {
		return nil
	}
	switch {
	case want.Type == nil && want.Value == nil:
		return hint.New(errors.New("type: missing"), "a key without a value of its own is declared under registryKeys")
	case want.Type == nil:
		return errors.New("type: missing")
	case want.Value == nil && *want.Type != "none":
		return errors.New("value: missing")
	}
	_, err := want.stored()
	return err
}

func checkPlace(path, user string, view int) error {
	hive, _, err := registry.Split(path)
	switch {
	case err != nil:
		return fmt.Errorf("path: %w", err)
	case view != 0 && view != 32 && view != 64:
		return fmt.Errorf("view: %d is neither 64 nor 32", view)
	case hive == registry.CurrentUser && user == "":
		return hint.New(fmt.Errorf("user: %s is in HKCU, which each user has another of", path), "add `user:` with a name, a SID, all or default")
	case hive != registry.CurrentUser && user != "":
		return hint.New(fmt.Errorf("user: %s is no user's", path), "leave `user` out, or begin the path with HKCU")
	}
	return nil
}

// stored is the value as the registry holds it.
func (r RegistryValue) stored() (registry.Value, error) {
	var value any = ""
	if r.Value != nil {
		value = *r.Value
	}
	v, err := storedValue(*r.Type, value)
	if err != nil {
		return v, fmt.Errorf("value: %w", err)
	}
	return v, nil
}

func storedValue(typ string, value any) (registry.Value, error) {
	switch typ {
	case "dword":
		n, err := number(value, 32)
		return registry.DWord(uint32(n)), err
	case "qword":
		n, err := number(value, 64)
		return registry.QWord(n), err
	case "string", "expandString":
		s, err := text(value)
		if typ == "string" {
			return registry.String(s), err
		}
		return registry.Expand(s), err
	case "multiString":
		list, ok := value.([]any)
		if !ok {
			return registry.Value{}, errors.New("a multiString is a list of texts")
		}
		texts := make([]string, len(list))
		for i, each := range list {
			var err error
			if texts[i], err = text(each); err != nil {
				return registry.Value{}, fmt.Errorf("entry %d: %w", i+1, err)
			}
		}
		return registry.Strings(texts)
	case "binary", "none":
		s, ok := value.(string)
		if !ok {
			return registry.Value{}, hint.New(fmt.Errorf("a %s is hexadecimal digits", typ), "write them between quotes")
		}
		b, err := bytesOf(s)
		v := registry.Binary(b)
		if typ == "none" {
			v.Type = registry.None
		}
		return v, err
	}
	return registry.Value{}, fmt.Errorf("there is no type %q", typ)
}

func text(value any) (string, error) {
	s, ok := value.(string)
	switch {
	case !ok:
		return "", hint.New(fmt.Errorf("%v is no text", value), "write it between quotes")
	case strings.ContainsRune(s, 0):
		return "", errors.New("a text can't hold a NUL")
	}
	return s, nil
}

func number(value any, bits int) (uint64, error) {
	names := map[int]string{32: "dword", 64: "qword"}
	outside := func() (uint64, error) {
		shown := fmt.Sprint(value)
		if f, ok := value.(float64); ok {
			shown = strconv.FormatFloat(f, 'f', -1, 64)
		}
		return 0, fmt.Errorf("%s is outside of a %s, which is from 0 to %d", shown, names[bits], uint64(math.MaxUint64)>>(64-bits))
	}
	switch v := value.(type) {
	case float64:
		switch {
		case v != math.Trunc(v):
			return 0, fmt.Errorf("%v is no whole number", v)
		case v < 0 || bits == 32 && v > math.MaxUint32:
			return outside()
		case v > 1<<53:
			return 0, hint.New(fmt.Errorf("%v is too large to be exact as a number", v), "write it between quotes")
		}
		return uint64(v), nil
	case string:
		n, err := strconv.ParseUint(strings.TrimSpace(v), 0, 64)
		if errors.Is(err, strconv.ErrRange) || err == nil && bits == 32 && n > math.MaxUint32 || strings.HasPrefix(v, "-") {
			return outside()
		}
		if err != nil {
			return 0, hint.New(fmt.Errorf("%q is no number", v), "write digits, or 0x and hexadecimal digits")
		}
		return n, nil
	}
	return 0, fmt.Errorf("a %s is a number", names[bits])
}

// bytesOf reads hexadecimal digits, as .reg files, reg.exe and people write them.
func bytesOf(s string) ([]byte, error) {
	s = strings.TrimSpace(s)
	s = strings.TrimPrefix(strings.TrimPrefix(s, "hex:"), "0x")
	digits := strings.NewReplacer(" ", "", ",", "", "\n", "", "\r", "", "\t", "", "\\\n", "").Replace(s)
	b, err := hex.DecodeString(digits)
	if errors.Is(err, hex.ErrLength) {
		return nil, fmt.Errorf("%q has an odd number of hexadecimal digits", s)
	}
	if err != nil {
		return nil, fmt.Errorf("%q is not hexadecimal", s)
	}
	return b, nil
}

// declared tells a stored value as a profile would declare it.
func declared(v registry.Value) (typ string, value any) {
	if s, ok := v.Text(); ok {
		if v.Type == registry.ExpandSZ {
			return "expandString", s
		}
		return "string", s
	}
	if n, ok := v.Number(); ok {
		typ = "dword"
		if v.Type == registry.QWordType {
			typ = "qword"
		}
		if n > 1<<53 {
			return typ, strconv.FormatUint(n, 10)
		}
		return typ, float64(n)
	}
	if list, ok := v.List(); ok {
		texts := make([]any, len(list))
		for i, s := range list {
			texts[i] = s
		}
		return "multiString", texts
	}
	switch v.Type {
	case registry.BinaryType:
		return "binary", hex.EncodeToString(v.Data)
	case registry.None:
		return "none", hex.EncodeToString(v.Data)
	}
	return registry.TypeName(v.Type), hex.EncodeToString(v.Data) // another type, or one whose bytes aren't that
}

// Observe reads the value in all hives that it is about.
func (r RegistryValues) Observe(_ context.Context, h *host.Host, want RegistryValue) (RegistryValue, error) {
	have := RegistryValue{Path: want.Path, Name: want.Name, User: want.User, View: want.View, State: modules.Absent}
	if err := r.Check(want); err != nil {
		return have, err
	}
	kept, err := readValues(h, want)
	if err != nil {
		return have, err
	}
	have.Kept = kept
	have.describe(want)
	return have, nil
}

// describe sums up what the hives hold: the first that isn't as wanted stands for all.
func (r *RegistryValue) describe(want RegistryValue) {
	var wanted *registry.Value
	if want.State != modules.Absent && want.Type != nil {
		if v, err := want.stored(); err == nil {
			wanted = &v
		}
	}
	show := slices.IndexFunc(r.Kept, func(k KeptValue) bool {
		return (k.Stored == nil) != (wanted == nil) || wanted != nil && !sameValue(*k.Stored, *wanted)
	})
	if show < 0 {
		show = 0
	}
	for _, k := range r.Kept {
		if k.Stored != nil {
			r.State = modules.Present
		}
	}
	if r.State == modules.Absent && len(r.Kept) == 0 && want.State != modules.Absent && want.User == registry.AllUsers {
		// Nobody has a profile: nothing is to be done.
		r.State, r.Type, r.Value = modules.Present, want.Type, want.Value
		return
	}
	if len(r.Kept) == 0 || r.Kept[show].Stored == nil {
		return
	}
	typ, value := declared(*r.Kept[show].Stored)
	r.Type, r.Value = &typ, &value
}

// sameValue forgives texts with or without a NUL at their end.
func sameValue(a, b registry.Value) bool {
	if a.Equal(b) {
		return true
	}
	if a.Type != b.Type {
		return false
	}
	if s, ok := a.Text(); ok {
		t, ok := b.Text()
		return ok && s == t
	}
	if s, ok := a.List(); ok {
		t, ok := b.List()
		return ok && slices.Equal(s, t)
	}
	return false
}

// Compare compares values by what they store, however they are written.
func (RegistryValues) Compare(property string, want, have RegistryValue) (met, ok bool) {
	switch property {
	case "value":
		if want.Type == nil || have.Type == nil || have.Value == nil || *want.Type != *have.Type {
			return false, true
		}
		w, err := want.stored()
		h, errHave := storedValue(*have.Type, *have.Value)
		return err == nil && errHave == nil && w.Equal(h), true
	case "kept":
		return sameKept(want.Kept, have.Kept), true
	}
	return false, false
}

// sameKept says whether all hives that are known from before have what they had.
func sameKept(before, now []KeptValue) bool {
	return !slices.ContainsFunc(before, func(b KeptValue) bool {
		return !slices.ContainsFunc(now, func(n KeptValue) bool {
			return n.Hive == b.Hive && (n.Stored == nil) == (b.Stored == nil) && (n.Stored == nil || n.Stored.Equal(*b.Stored))
		})
	})
}

// Apply writes or removes the value in all hives that it is about, or brings back what each had.
func (r RegistryValues) Apply(_ context.Context, h *host.Host, want, _ RegistryValue) (modules.Outcome, error) {
	if err := r.Check(want); err != nil {
		return modules.Outcome{}, err
	}
	return modules.Outcome{}, writeValues(h, want)
}

// Inverse brings back what each hive had.
func (RegistryValues) Inverse(_, have RegistryValue) (RegistryValue, error) {
	return RegistryValue{Path: have.Path, Name: have.Name, User: have.User, View: have.View, State: have.State, Kept: have.Kept}, nil
}

// Package netapi knows the accounts of a Windows machine: https://learn.microsoft.com/windows/win32/netmgmt/network-management-functions
//
//	u, err := netapi.FindUser("alice")           // nil where there is none
//	err = netapi.AddUser("alice", password, netapi.User{FullName: "Alice Example"})
//	err = netapi.AddMember("S-1-5-32-544", "alice")
//
// It is about local accounts alone. Groups go by name, or by SID where the name depends on the system's language.
package netapi

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"unsafe"

	"github.com/fitout-dev/fitout/modules/hint"
	"golang.org/x/sys/windows"
)

var (
	netapi32 = windows.NewLazySystemDLL("netapi32.dll")
	advapi32 = windows.NewLazySystemDLL("advapi32.dll")

	netUserAdd              = netapi32.NewProc("NetUserAdd")
	netUserDel              = netapi32.NewProc("NetUserDel")
	netUserSetInfo          = netapi32.NewProc("NetUserSetInfo")
	netUserGetLocalGroups   = netapi32.NewProc("NetUserGetLocalGroups")
	netLocalGroupAdd        = netapi32.NewProc("NetLocalGroupAdd")
	netLocalGroupDel        = netapi32.NewProc("NetLocalGroupDel")
	netLocalGroupGetInfo    = netapi32.NewProc("NetLocalGroupGetInfo")
	netLocalGroupAddMembers = netapi32.NewProc("NetLocalGroupAddMembers")
	netLocalGroupDelMembers = netapi32.NewProc("NetLocalGroupDelMembers")
	logonUser               = advapi32.NewProc("LogonUserW")
)

// Codes of lmerr.h and winerror.h.
const (
	nerrUserNotFound  = syscall.Errno(2221)
	nerrGroupNotFound = syscall.Errno(2220)
	errNoSuchAlias    = syscall.Errno(1376)
	errMemberInAlias  = syscall.Errno(1378)
	errMemberNotAlias = syscall.Errno(1377)
)

// User is an account.
type User struct {
	FullName string
	Disabled bool
	Expires  uint32 // seconds since 1970; Never
	SID      string
}

// Never is the Expires of an account that doesn't.
const Never = ^uint32(0)

const (
	flagScript, flagDisabled, flagNormal = 0x1, 0x2, 0x200
	privilegeUser                        = 1
)

// info1 is USER_INFO_1.
type info1 struct {
	name, password *uint16
	age, privilege uint32
	home, comment  *uint16
	flags          uint32
	script         *uint16
}

// info4 is USER_INFO_4.
type info4 struct {
	info1
	auth                                   uint32
	fullName, userComment, parms, stations *uint16
	lastLogon, lastLogoff, expires, most   uint32
	units                                  uint32
	hours                                  *byte
	badPasswords, logons                   uint32
	server                                 *uint16
	country, codePage                      uint32
	sid                                    *windows.SID
	primaryGroup                           uint32
	profile, homeDrive                     *uint16
	passwordExpired                        uint32
}

// FindUser returns an account, nil where there is none. When it expires is looked up where withExpiry asks for it.
func FindUser(name string, withExpiry bool) (*User, error) {
	n, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return nil, err
	}
	get := func(level uint32) (unsafe.Pointer, error) {
		var b *byte
		err := windows.NetUserGetInfo(nil, n, level, &b)
		if err == nil && b == nil {
			err = errors.New("Windows gave no answer")
		}
		return unsafe.Pointer(b), err
	}
	one, err := get(1)
	if errors.Is(err, nerrUserNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, words("look up user "+name, err)
	}
	defer windows.NetApiBufferFree((*byte)(one))
	u := &User{Disabled: (*info1)(one).flags&flagDisabled != 0, Expires: Never}
	ten, err := get(10)
	if err != nil {
		return nil, words("look up user "+name, err)
	}
	defer windows.NetApiBufferFree((*byte)(ten))
	u.FullName = windows.UTF16PtrToString((*windows.UserInfo10)(ten).FullName)
	if withExpiry {
		four, err := get(4)
		if err != nil {
			return nil, words("look up when user "+name+" expires", err)
		}
		defer windows.NetApiBufferFree((*byte)(four))
		u.Expires = (*info4)(four).expires
	}
	if sid, _, _, err := windows.LookupSID("", name); err == nil {
		u.SID = sid.String()
	}
	return u, nil
}

// AddUser makes an account.
func AddUser(name, password string, u User) error {
	flags := uint32(flagScript | flagNormal)
	if u.Disabled {
		flags |= flagDisabled
	}
	const domainUsers = 513 // DOMAIN_GROUP_RID_USERS
	in := info4{info1: info1{name: text(name), password: text(password), privilege: privilegeUser, flags: flags},
		fullName: text(u.FullName), expires: u.Expires, most: ^uint32(0), primaryGroup: domainUsers}
	return call("add user "+name, netUserAdd, 0, 4, uintptr(unsafe.Pointer(&in)), 0)
}

// RemoveUser removes an account. Its profile folder stays.
func RemoveUser(name string) error {
	return call("remove user "+name, netUserDel, 0, uintptr(unsafe.Pointer(text(name))))
}

// SetFullName, SetPassword, SetDisabled and SetExpires change one thing of an account.
func SetFullName(name, fullName string) error {
	in := text(fullName)
	return set("full name", name, 1011, unsafe.Pointer(&in))
}

func SetPassword(name, password string) error {
	in := text(password)
	return set("password", name, 1003, unsafe.Pointer(&in))
}

func SetExpires(name string, seconds uint32) error {
	return set("expiry", name, 1017, unsafe.Pointer(&seconds))
}

func SetDisabled(name string, disabled bool) error {
	n, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return err
	}
	var b *byte
	if err := windows.NetUserGetInfo(nil, n, 1, &b); err != nil {
		return words("look up user "+name, err)
	}
	defer windows.NetApiBufferFree(b)
	flags := (*info1)(unsafe.Pointer(b)).flags &^ flagDisabled
	if disabled {
		flags |= flagDisabled
	}
	return set("flags", name, 1008, unsafe.Pointer(&flags))
}

func set(what, name string, level uintptr, in unsafe.Pointer) error {
	return call("set the "+what+" of user "+name, netUserSetInfo, 0, uintptr(unsafe.Pointer(text(name))), level, uintptr(in), 0)
}

// Logon says whether a user's password is this one. An account that can't log on for another reason (disabled, expired, no
// logon from the network) still tells a wrong password apart.
func Logon(name, password string) (bool, error) {
	const network, byDefault = 3, 0 // LOGON32_LOGON_NETWORK, LOGON32_PROVIDER_DEFAULT
	var token windows.Token
	ok, _, err := logonUser.Call(uintptr(unsafe.Pointer(text(name))), uintptr(unsafe.Pointer(text("."))), uintptr(unsafe.Pointer(text(password))),
		network, byDefault, uintptr(unsafe.Pointer(&token)))
	if ok != 0 {
		token.Close()
		return true, nil
	}
	switch {
	case errors.Is(err, windows.ERROR_LOGON_FAILURE):
		return false, nil
	case errors.Is(err, windows.ERROR_ACCOUNT_RESTRICTION), errors.Is(err, windows.ERROR_ACCOUNT_DISABLED), errors.Is(err, windows.ERROR_ACCOUNT_EXPIRED),
		errors.Is(err, windows.ERROR_INVALID_LOGON_HOURS), errors.Is(err, windows.ERROR_INVALID_WORKSTATION), errors.Is(err, windows.ERROR_LOGON_TYPE_NOT_GRANTED),
		errors.Is(err, windows.ERROR_PASSWORD_EXPIRED), errors.Is(err, windows.ERROR_PASSWORD_MUST_CHANGE):
		return true, nil
	}
	return false, words("try the password of user "+name, err)
}

// GroupsOf lists the local groups that a user is in.
func GroupsOf(name string) ([]string, error) {
	var b *byte
	var read, total uint32
	err := call("list the groups of user "+name, netUserGetLocalGroups, 0, uintptr(unsafe.Pointer(text(name))), 0, 0,
		uintptr(unsafe.Pointer(&b)), uintptr(^uint32(0)), uintptr(unsafe.Pointer(&read)), uintptr(unsafe.Pointer(&total)))
	if err != nil || b == nil {
		return nil, err
	}
	defer windows.NetApiBufferFree(b)
	var out []string
	for _, g := range unsafe.Slice((**uint16)(unsafe.Pointer(b)), read) {
		out = append(out, windows.UTF16PtrToString(g))
	}
	return out, nil
}

// GroupName is what a group that may be given by SID is called on this machine.
func GroupName(group string) (string, error) {
	if !strings.HasPrefix(group, "S-1-") {
		return group, nil
	}
	sid, err := windows.StringToSid(group)
	if err != nil {
		return "", fmt.Errorf("group %s: %w", group, err)
	}
	name, _, _, err := sid.LookupAccount("")
	return name, words("find the group "+group, err)
}

// HasGroup says whether a local group exists.
func HasGroup(group string) (bool, error) {
	var b *byte
	err := call("look up group "+group, netLocalGroupGetInfo, 0, uintptr(unsafe.Pointer(text(group))), 1, uintptr(unsafe.Pointer(&b)))
	if b != nil {
		windows.NetApiBufferFree(b)
	}
	switch {
	case errors.Is(err, nerrGroupNotFound), errors.Is(err, errNoSuchAlias):
		return false, nil
	case err == nil && b == nil:
		return false, fmt.Errorf("look up group %s: Windows gave no answer", group)
	}
	return err == nil, err
}

// AddGroup makes a local group, and RemoveGroup removes one.
func AddGroup(group string) error {
	in := text(group) // LOCALGROUP_INFO_0
	return call("add group "+group, netLocalGroupAdd, 0, 0, uintptr(unsafe.Pointer(&in)), 0)
}

func RemoveGroup(group string) error {
	return call("remove group "+group, netLocalGroupDel, 0, uintptr(unsafe.Pointer(text(group))))
}

// AddMember puts a user into a group; that it is there already is no error. RemoveMember takes it out, likewise.
func AddMember(group, user string) error {
	return member(netLocalGroupAddMembers, "add user "+user+" to group "+group, group, user, errMemberInAlias)
}

func RemoveMember(group, user string) error {
	return member(netLocalGroupDelMembers, "take user "+user+" out of group "+group, group, user, errMemberNotAlias)
}

func member(proc *windows.LazyProc, what, group, user string, fine error) error {
	name, err := GroupName(group)
	if err != nil {
		return err
	}
	in := text(user) // LOCALGROUP_MEMBERS_INFO_3
	err = call(what, proc, 0, uintptr(unsafe.Pointer(text(name))), 3, uintptr(unsafe.Pointer(&in)), 1)
	if errors.Is(err, fine) {
		return nil
	}
	return err
}

// text is a string for Windows; what can't be one, since it holds a NUL, was refused before.
func text(s string) *uint16 {
	p, err := windows.UTF16PtrFromString(strings.ReplaceAll(s, "\x00", ""))
	if err != nil {
		return new(uint16)
	}
	return p
}

//go:uintptrescapes
func call(what string, proc *windows.LazyProc, args ...uintptr) error {
	if err := proc.Find(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if code, _, _ := proc.Call(args...); code != 0 {
		return words(what, syscall.Errno(code))
	}
	return nil
}

// words says what Windows' codes mean where its own text doesn't help.
func words(what string, err error) error {
	if err == nil {
		return nil
	}
	cause := func(text string) error { return fmt.Errorf("%s: %s: %w", what, text, err) }
	switch code, _ := errors.AsType[syscall.Errno](err); code {
	case 2245: // NERR_PasswordTooShort
		return hint.New(cause("the password doesn't meet the policy"), "length, complexity, age and history are set by the local security policy or the domain")
	case 2226: // NERR_NotPrimary
		return hint.New(cause("this is a domain controller without local accounts"), "declare its accounts in the domain")
	case 1327: // ERROR_ACCOUNT_RESTRICTION
		return hint.New(cause("an account restriction"), "a blank password, for instance, can be used at the machine alone")
	case 5:
		return hint.New(cause("not allowed"), "log in as an administrator")
	case nerrGroupNotFound, errNoSuchAlias, 1332: // ERROR_NONE_MAPPED
		return hint.New(cause("no such group or user"), "names depend on Windows' language: well-known groups can be given by SID, S-1-5-32-544 for the administrators")
	case 2234: // NERR_SpeGroupOp
		return cause("not possible for a group of the system's own")
	}
	return fmt.Errorf("%s: %w", what, err)
}

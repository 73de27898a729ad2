package accounts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// User is a user of the device itself: of /etc/passwd, or a local account of Windows.
type User struct {
	// Name is what the user logs on with: on Linux at most 32 lower-case letters, digits, "-", "_" and ".", a letter or "_"
	// first; on Windows at most 20 characters, but none of "/\[]:;|=,+*?<>@.
	Name string `json:"name" fit:"key" title:"Name" pattern:"^\\S(.*\\S)?$" example:"alice"`
	// UID is the user's number. Without it a new user gets the next free one of the range that /etc/login.defs gives.
	// When it changes, what belongs to the user in the home goes along; files elsewhere keep the old number.
	UID *int `json:"uid,omitzero" fit:"managed" title:"User number" on:"linux" minimum:"0" example:"1050"`
	// FullName is the person's name: the first part of the comment (GECOS) field. Office and phones in it are kept.
	FullName *string `json:"fullName,omitzero" fit:"managed" title:"Full name" example:"Alice Example"`
	// Home is the home folder. Without it a new user gets one of the user's name below /home, or where
	// /etc/default/useradd says. Changing it moves nothing, unless moveHome says so.
	Home *string `json:"home,omitzero" fit:"managed" title:"Home folder" on:"linux" pattern:"^/" example:"/home/alice"`
	// Shell is the program that a logon starts. Without it a new user gets the one of /etc/default/useradd, or /bin/sh.
	Shell *string `json:"shell,omitzero" fit:"managed" title:"Shell" on:"linux" pattern:"^/" example:"/bin/bash"`
	// Group is the primary group's name. Without it a new user gets a group of the same name, or the one of
	// /etc/default/useradd where /etc/login.defs has USERGROUPS_ENAB no. When it changes, files in the home follow.
	Group *string `json:"group,omitzero" fit:"managed" title:"Primary group" on:"linux" ref:"groups" example:"sales"`
	// Groups are the supplementary groups, at least these; with groupsExact these and no others. On Windows, the local groups;
	// those whose names depend on its language can be given by SID: S-1-5-32-544 are the administrators.
	Groups []string `json:"groups,omitzero" fit:"managed" title:"Groups" ref:"groups" example:"sales"`
	// Take the user out of all groups that groups doesn't list.
	GroupsExact bool `json:"groupsExact,omitzero" fit:"behaviour" title:"No other groups" default:"false"`
	// Give a new user a number of the system's range, no home and no subordinate numbers.
	System bool `json:"system,omitzero" fit:"behaviour" title:"System user" on:"linux" default:"false"`
	// Password is the password in plain text, from a secret, or its hash in a form of crypt(5) other than DES ("$6$...").
	// "*" is no password: keys still work. Plain text is compared with the device's hash, and hashed there with a new
	// salt by the method of its PAM or /etc/login.defs. On Windows a logon is tried with it: where it differs, that counts as
	// one failed logon for each plan and each apply.
	Password *string `json:"password,omitzero" fit:"managed,secret" title:"Password" example:"${secrets.alice}"`
	// SSHKeys are lines of ~/.ssh/authorized_keys, at least these; with sshKeysExact these and no others. Options before
	// a key count, the comment behind it doesn't.
	SSHKeys []string `json:"sshKeys,omitzero" fit:"managed" title:"SSH keys" on:"linux" example:"ssh-ed25519 AAAA... alice"`
	// Remove the keys that sshKeys doesn't list.
	SSHKeysExact bool `json:"sshKeysExact,omitzero" fit:"behaviour" title:"No other SSH keys" on:"linux" default:"false"`
	// Make the password useless, as passwd -l does ("!" before the hash), without forgetting it. SSH keys go on
	// working where sshd uses PAM: see expires. On Windows, the account is disabled.
	Locked *bool `json:"locked,omitzero" fit:"managed" title:"Password locked"`
	// Expires is the day from which nobody can log on as this user by any means, as YYYY-MM-DD, or "never".
	Expires *string `json:"expires,omitzero" fit:"managed" title:"Expires" pattern:"^(never|[0-9]{4}-[0-9]{2}-[0-9]{2})$" example:"2030-12-31"`
	// Make a missing home from /etc/skel: that of a new user, and later one that home names. By default it
	// does so, but not for system users. A folder that is there is left as it is.
	CreateHome *bool `json:"createHome,omitzero" fit:"behaviour" title:"Create the home" on:"linux"`
	// Move the old home's folder when home changes.
	MoveHome bool `json:"moveHome,omitzero" fit:"behaviour" title:"Move the home" on:"linux" default:"false"`
	// Remove the home and the mailbox together with the user.
	RemoveHome bool `json:"removeHome,omitzero" fit:"behaviour" title:"Remove the home" on:"linux" default:"false"`
	// The account's security identifier.
	SID *string `json:"sid,omitzero" fit:"observed" title:"SID" on:"windows"`
	// State is whether the user should exist. One who is logged on, or has a process, can't be removed.
	State string `json:"state,omitzero" fit:"state" title:"State" enum:"present,absent"`

	// What the databases have of it, line by line.
	Record *Record `json:"record,omitzero" fit:"observed,secret" title:"Entries"`
}

// Users is the resource type of users.
type Users struct{}

var (
	_ modules.Resource[User]        = Users{}
	_ modules.Comparer[User]        = Users{}
	_ modules.Inverter[User]        = Users{}
	_ modules.Checker[User]         = Users{}
	_ modules.PlatformChecker[User] = Users{}
	_ modules.Platformed            = Users{}
	_ modules.Experimenter          = Users{}
)

const never, dateForm = "never", "2006-01-02"

// Platforms says where users exist.
func (Users) Platforms() []string { return []string{"linux", "windows"} }

// Experimental says where no real system's accounts could be changed.
func (Users) Experimental() []string { return []string{"windows"} }

// Check finds values that would break a line of a database, or can't be meant.
func (Users) Check(want User) error {
	if err := checkID("uid", want.UID); err != nil {
		return err
	}
	for _, p := range []struct {
		name     string
		value    *string
		not      string
		absolute bool
	}{{"fullName", want.FullName, ":,\n\r\x00", false}, {"home", want.Home, ":\n\r\x00", true}, {"shell", want.Shell, ":\n\r\x00", true}} {
		if p.value == nil {
			continue
		}
		if i := strings.IndexAny(*p.value, p.not); i >= 0 {
			return fmt.Errorf("%s %q must not hold %q", p.name, *p.value, (*p.value)[i])
		}
		if p.absolute && !strings.HasPrefix(*p.value, "/") {
			return fmt.Errorf("%s %q is not an absolute path", p.name, *p.value)
		}
	}
	if want.Group != nil {
		if err := checkGroupRef(*want.Group); err != nil {
			return fmt.Errorf("group: %w", err)
		}
	}
	if want.Password != nil {
		if err := checkPassword(*want.Password); err != nil {
			return err
		}
	}
	for i, k := range want.SSHKeys {
		if _, ok := parseKey(k); !ok || strings.ContainsAny(k, "\n\r\x00") {
			return hint.New(fmt.Errorf("sshKeys[%d] is no line of authorized_keys", i), "the content of a .pub file is one: \"ssh-ed25519 AAAA... comment\"")
		}
	}
	if want.Expires != nil {
		if _, err := expiryField(*want.Expires); err != nil {
			return err
		}
	}
	return nil
}

// CheckOn looks at names, which Windows takes others of, and at what Windows has no way for.
func (Users) CheckOn(os string, want User) error {
	if os == "windows" {
		return checkAccount(want)
	}
	if err := checkName("user", want.Name); err != nil {
		return err
	}
	for _, g := range want.Groups {
		if err := checkGroupRef(g); err != nil {
			return fmt.Errorf("groups: %w", err)
		}
	}
	return nil
}

// checkGroupRef is milder than checkName: an existing group may be called Debian-exim.
func checkGroupRef(name string) error {
	if name == "" || strings.ContainsAny(name, ":, \t\n\r\x00") || strings.Trim(name, "0123456789") == "" {
		return fmt.Errorf("%q is no name of a group", name)
	}
	return nil
}

// Observe reads the databases, and the home where keys are declared.
func (Users) Observe(_ context.Context, h *host.Host, want User) (User, error) {
	if h.OS() == "windows" {
		return observeAccount(h, want)
	}
	db, err := observed(h)
	if err != nil {
		return User{}, err
	}
	if err := db.passwd.intact(want.Name); err != nil {
		return User{}, err
	}
	e := db.passwd.find(want.Name)
	if e == nil {
		r := db.record(want.Name, db.own()...)
		if want.State != modules.Absent {
			db.newHome(want, nil, r)
		}
		return User{Name: want.Name, State: modules.Absent, Record: r}, nil
	}
	have := db.user(e)
	have.Record = db.record(want.Name, db.own()...)
	if want.State != modules.Absent {
		db.newHome(want, e, have.Record)
	} else if want.RemoveHome {
		have.Record.Lost = db.lost(e)
	}
	if err := db.shadow.err; err != nil && !db.shadow.missing() && (want.Password != nil || want.Locked != nil || want.Expires != nil) {
		if errors.Is(err, fs.ErrPermission) {
			err = hint.New(err, "password, locked and expires need root's rights: set connect.sudo")
		}
		return User{}, err
	}
	if want.SSHKeys != nil || want.State == modules.Absent && want.Record != nil {
		if have.SSHKeys, err = readKeys(h, e); err != nil {
			return User{}, err
		}
		if have.Record.Keys, err = recordKeys(h, e); err != nil {
			return User{}, err
		}
	}
	if want.Home != nil && wantsHome(want) && !isFolder(h, e[pwHome]) {
		have.Home = nil // not there: it is made when the user's home is proven
	}
	return have, nil
}

func wantsHome(want User) bool {
	if want.CreateHome != nil {
		return *want.CreateHome
	}
	return !want.System
}

func isFolder(h *host.Host, name string) bool {
	i, err := h.Stat(name)
	return err == nil && i.Kind == host.KindDirectory
}

// user turns an entry of passwd into what a profile says.
func (db *databases) user(e []string) User {
	u := User{Name: e[0], State: modules.Present, Groups: db.groupsOf(e[0], e[pwGID])}
	uid, _ := strconv.Atoi(e[pwUID])
	full, _, _ := strings.Cut(e[pwGECOS], ",")
	gid, _ := strconv.Atoi(e[pwGID])
	group := ids(db.group, grGID)[gid]
	if group == "" {
		group = db.h.GroupName(gid)
	}
	u.UID, u.FullName, u.Home, u.Shell, u.Group = &uid, &full, &e[pwHome], &e[pwShell], &group
	if field, ok := db.secret(e[0]); ok {
		locked := strings.HasPrefix(field, "!")
		password := unlocked(field)
		u.Locked, u.Password = &locked, &password
	}
	if s := db.shadow.find(e[0]); s != nil {
		expires := expiryDate(s[spExpire])
		u.Expires = &expires
	}
	return u
}

// groupsOf lists the supplementary groups, sorted.
func (db *databases) groupsOf(name, primary string) []string {
	groups := []string{}
	for _, e := range db.group.entries() {
		if e[grGID] != primary && slices.Contains(list(e[grMembers]), name) {
			groups = append(groups, e[0])
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

// secret is a user's password field, wherever it is. ok is false where it can't be read.
func (db *databases) secret(name string) (field string, ok bool) {
	e := db.passwd.find(name)
	if e == nil {
		return "", false
	}
	if e[pwSecret] != "x" {
		return e[pwSecret], true
	}
	if s := db.shadow.find(name); s != nil {
		return s[spSecret], true
	}
	return "*", db.shadow.err == nil || db.shadow.missing()
}

// unlocked is a password field without its lock. "!" alone, of an account that never had a password, stays.
func unlocked(field string) string {
	if rest := strings.TrimLeft(field, "!"); rest != "" {
		return rest
	}
	return field
}

// expiryDate turns shadow's count of days into a date.
func expiryDate(days string) string {
	n, err := strconv.Atoi(days)
	if err != nil || n < 0 {
		return never
	}
	return time.Unix(int64(n)*86400, 0).UTC().Format(dateForm)
}

func expiryField(date string) (string, error) {
	if date == never {
		return "", nil
	}
	t, err := time.Parse(dateForm, date)
	if err != nil || t.Year() < 1970 {
		return "", hint.New(fmt.Errorf("expires %q is no date", date), "write it as 2030-12-31, or never")
	}
	return strconv.FormatInt(t.Unix()/86400, 10), nil
}

// Compare knows that a hash meets its password, and lists that want "at least these".
func (Users) Compare(property string, want, have User) (met, ok bool) {
	switch property {
	case "password":
		if have.Password == nil {
			return false, true
		}
		if crypted(*want.Password) || have.SID != nil {
			return *want.Password == *have.Password, true
		}
		return matches(*want.Password, *have.Password), true
	case "home":
		return have.Home != nil && path.Clean(*want.Home) == path.Clean(*have.Home), true
	case "groups":
		if have.SID != nil {
			return accountGroupsMet(want, have), true
		}
		return groupsMet(want, have), true
	case "sshKeys":
		return mergeKeys(strings.Join(have.SSHKeys, "\n"), want.SSHKeys, want.SSHKeysExact) == strings.Join(have.SSHKeys, "\n"), true
	}
	return false, false
}

func groupsMet(want, have User) bool {
	for _, g := range want.Groups {
		if !slices.Contains(have.Groups, g) && (have.Group == nil || g != *have.Group) {
			return false
		}
	}
	if want.GroupsExact {
		for _, g := range have.Groups {
			if !slices.Contains(want.Groups, g) {
				return false
			}
		}
	}
	return true
}

// Inverse puts back only what want had set, so that what others changed meanwhile stays. A new user's home goes along with
// the user as long as it is as it was made: later there may be work in it.
func (Users) Inverse(want, have User) (User, error) {
	if have.SID != nil {
		return inverseOfAccount(want, have)
	}
	back, r := User{Name: have.Name, State: have.State}, have.Record
	if r == nil {
		r = &Record{}
	}
	des := have.Password != nil && !crypted(*have.Password)
	switch {
	case have.State == modules.Absent:
		back.Record = r
		return back, nil
	case want.State == modules.Absent:
		if r.Lost != "" {
			return back, fmt.Errorf("%s would be lost", r.Lost)
		}
		back = have
		back.SSHKeys, back.CreateHome = nil, modules.Ptr(false)
		if des {
			back.Password = nil // the record has it
		}
		if want.Record != nil && want.Record.NewHome != "" { // an undo, which removes the home too
			back.SSHKeys, back.CreateHome = have.SSHKeys, modules.Ptr(true)
		}
		return back, r.plain()
	case want.Password != nil && des:
		return back, fmt.Errorf("the old password of %s has a hash (DES) that can't be put back", have.Name)
	case r.NewHome != "":
		return back, fmt.Errorf("the home %s that will be made for %s is not removed again", r.NewHome, have.Name)
	}
	if want.UID != nil {
		back.UID = have.UID
	}
	if want.FullName != nil {
		back.FullName = have.FullName
	}
	if want.Home != nil {
		back.Home, back.MoveHome, back.CreateHome = have.Home, want.MoveHome, modules.Ptr(false)
		if f := r.Entries["passwd"]; have.Home == nil && len(f) > 0 { // it names a folder that isn't there
			back.Home = &strings.Split(f[0].Text, ":")[pwHome]
		}
	}
	if want.Shell != nil {
		back.Shell = have.Shell
	}
	if want.Group != nil {
		back.Group = have.Group
	}
	if want.Groups != nil {
		back.Groups, back.GroupsExact = have.Groups, true
	}
	if want.Password != nil {
		back.Password = have.Password
	}
	if want.Locked != nil {
		back.Locked = have.Locked
	}
	if want.Expires != nil {
		back.Expires = have.Expires
	}
	if want.SSHKeys != nil {
		back.SSHKeys, back.SSHKeysExact = have.SSHKeys, true
	}
	if back.Groups == nil && back.Password == nil && back.Locked == nil && back.Expires == nil && back.SSHKeys == nil && back.FullName == nil {
		back.Record = &Record{Above: r.Above} // the rest isn't needed
		return back, nil
	}
	back.Record = r
	return back, r.plain()
}

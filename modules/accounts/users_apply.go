package accounts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// Apply edits the databases, and then the home.
func (u Users) Apply(ctx context.Context, h *host.Host, want, have User) (modules.Outcome, error) {
	if h.OS() == "windows" {
		return modules.Outcome{}, applyAccount(h, want, have)
	}
	if want.State == modules.Absent {
		return modules.Outcome{}, removeUser(ctx, h, want)
	}
	if err := u.checkApply(want); err != nil {
		return modules.Outcome{}, err
	}
	if err := edit(ctx, h, func(db *databases) error { return db.setUser(ctx, want) }); err != nil {
		return modules.Outcome{}, err
	}
	if want.SSHKeys == nil {
		return modules.Outcome{}, nil
	}
	return modules.Outcome{}, writeKeys(h, load(h).passwd.find(want.Name), want)
}

// checkApply is Check once more: values that weren't known before come without it. An undo may put back what the device
// had, whatever that is.
func (u Users) checkApply(want User) error {
	if want.Record != nil {
		return checkName("user", want.Name)
	}
	if err := u.Check(want); err != nil {
		return err
	}
	return u.CheckOn("linux", want)
}

// setUser brings a user's entries to want.
func (db *databases) setUser(ctx context.Context, want User) error {
	if err := db.passwd.intact(want.Name); err != nil {
		return err
	}
	e := db.passwd.find(want.Name)
	created := e == nil
	if created && want.Record != nil && want.Record.fields(db.passwd) != nil {
		if err := db.recreate(ctx, want.Name, want.Record); err != nil || !wantsHome(want) {
			return err
		}
		return db.createHome(db.passwd.find(want.Name))
	}
	var err error
	if created {
		e, err = db.newUser(ctx, want)
	} else {
		e, err = db.changedUser(ctx, slices.Clone(e), want)
	}
	if err != nil {
		return err
	}
	db.passwd.set(e...)
	if err := db.setGroups(ctx, want, e); err != nil {
		return err
	}
	if err := db.setSecret(want, created); err != nil {
		return err
	}
	if want.Expires != nil {
		if err := db.setExpiry(want.Name, *want.Expires); err != nil {
			return err
		}
	}
	if r := want.Record; r != nil {
		if want.Groups != nil {
			db.restoreMembers(want.Name, r)
		}
		if want.Password != nil || want.Locked != nil || want.Expires != nil {
			db.restoreSecret(want.Name, r)
		}
	}
	if wantsHome(want) && (created || want.Home != nil) {
		if err := db.createHome(e); err != nil {
			return err
		}
	}
	if s := e[pwShell]; want.Shell != nil && db.h.Living() && !db.h.Exists(s) {
		db.h.Log().Warn("the shell is not there: nobody can log on with it", "user", want.Name, "shell", s)
	}
	return nil
}

// newUser makes an entry, and the group that goes with it.
func (db *databases) newUser(ctx context.Context, want User) ([]string, error) {
	if err := db.foreign(ctx, "passwd", "user", want.Name); err != nil {
		return nil, err
	}
	home := db.defaultHome(want.Name)
	if want.Home != nil {
		home = *want.Home
	}
	uid, err := db.newUID(ctx, want, home)
	if err != nil {
		return nil, err
	}
	gid, err := db.newPrimary(ctx, want, uid)
	if err != nil {
		return nil, err
	}
	if low, high := db.rangeOf("UID", false); !want.System && uid >= low && uid <= high {
		if err := db.addSubIDs(want.Name); err != nil {
			return nil, err
		}
	}
	secret, full, shell := "x", "", db.defaultShell()
	if db.shadow.missing() {
		secret = "*"
	}
	if want.FullName != nil {
		full = *want.FullName
	}
	if want.Shell != nil {
		shell = *want.Shell
	}
	return []string{want.Name, secret, strconv.Itoa(uid), gid, full, home, shell}, nil
}

func (db *databases) newUID(ctx context.Context, want User, home string) (int, error) {
	used := ids(db.passwd, pwUID)
	if want.UID != nil {
		if owner := used[*want.UID]; owner != "" {
			return 0, taken("uid", *want.UID, "user", owner)
		}
		return *want.UID, nil
	}
	// A home that is there, from a run that was interrupted or a system before this one, keeps its owner.
	if i, err := db.h.Stat(home); err == nil && i.Kind == host.KindDirectory {
		if low, high := db.rangeOf("UID", want.System); i.UID >= low && i.UID <= high && used[i.UID] == "" {
			return i.UID, nil
		}
	}
	return db.freeID(ctx, "passwd", want.System)
}

// newPrimary finds or makes a new user's primary group and returns its number.
func (db *databases) newPrimary(ctx context.Context, want User, uid int) (string, error) {
	switch {
	case want.Group != nil:
		return db.gidOf(ctx, *want.Group)
	case db.group.find(want.Name) != nil:
		return db.group.find(want.Name)[grGID], nil
	case !db.yes("USERGROUPS_ENAB", true) && !want.System && db.useradd["GROUP"] != "":
		return db.gidOf(ctx, db.useradd["GROUP"])
	}
	var gid *int
	if ids(db.group, grGID)[uid] == "" {
		if _, foreign := db.h.Getent(ctx, "group", strconv.Itoa(uid)); !foreign {
			gid = &uid
		}
	}
	id, err := db.addGroup(ctx, want.Name, gid, want.System)
	return strconv.Itoa(id), err
}

func (db *databases) gidOf(ctx context.Context, name string) (string, error) {
	if e := db.group.find(name); e != nil {
		return e[grGID], nil
	}
	if f, ok := db.h.Getent(ctx, "group", name); ok {
		return f[2], nil
	}
	if _, err := strconv.Atoi(name); err == nil {
		return name, nil
	}
	return "", noGroup(name)
}

func noGroup(name string) error {
	return hint.New(fmt.Errorf("no group %q on this device", name), "declare it under groups, or correct the name")
}

// changedUser brings the fields of an existing entry to want. What belongs to the home goes first: if that is
// interrupted, the entry still differs.
func (db *databases) changedUser(ctx context.Context, e []string, want User) ([]string, error) {
	uid, gid := e[pwUID], e[pwGID]
	if want.UID != nil && uid != strconv.Itoa(*want.UID) {
		if owner := ids(db.passwd, pwUID)[*want.UID]; owner != "" {
			return nil, taken("uid", *want.UID, "user", owner)
		}
		uid = strconv.Itoa(*want.UID)
	}
	if want.Group != nil {
		var err error
		if gid, err = db.gidOf(ctx, *want.Group); err != nil {
			return nil, err
		}
	}
	home := e[pwHome]
	if want.Home != nil && path.Clean(home) != path.Clean(*want.Home) {
		home = *want.Home
	}
	moves := home != e[pwHome] && want.MoveHome
	if uid != e[pwUID] || moves {
		if err := idle(db.h, e[0], e[pwUID]); err != nil {
			return nil, err
		}
	}
	if uid != e[pwUID] || gid != e[pwGID] {
		if err := giveHome(db.h, e, uid, gid); err != nil {
			return nil, err
		}
	}
	if moves {
		if err := moveHome(ctx, db.h, e[pwHome], home); err != nil {
			return nil, err
		}
		if want.Record != nil { // of the change that is undone
			if err := want.Record.removeAbove(db.h, e[pwHome]); err != nil {
				return nil, err
			}
		}
	}
	e[pwUID], e[pwGID], e[pwHome] = uid, gid, home
	if want.FullName != nil {
		_, others, more := strings.Cut(e[pwGECOS], ",")
		e[pwGECOS] = *want.FullName
		if more {
			e[pwGECOS] += "," + others
		}
	}
	if want.Shell != nil {
		e[pwShell] = *want.Shell
	}
	return e, nil
}

// setGroups puts the user in its groups, in group and gshadow alike.
func (db *databases) setGroups(ctx context.Context, want User, e []string) error {
	if want.Groups == nil {
		return nil
	}
	for _, g := range want.Groups {
		entry := db.group.find(g)
		if entry == nil {
			if _, ok := db.h.Getent(ctx, "group", g); ok {
				return hint.New(fmt.Errorf("group %q comes from another name service than the files", g), "add %s to it there", want.Name)
			}
			return noGroup(g)
		}
		if entry[grGID] != e[pwGID] {
			db.member(g, want.Name, true)
		}
	}
	if want.GroupsExact {
		for _, entry := range db.group.entries() {
			if !slices.Contains(want.Groups, entry[0]) {
				db.member(entry[0], want.Name, false)
			}
		}
	}
	return nil
}

func (db *databases) member(group, user string, in bool) {
	db.group.change(group, grMembers, alter(db.group.find(group)[grMembers], user, in))
	if s := db.gshadow.find(group); s != nil {
		db.gshadow.change(group, sgMembers, alter(s[sgMembers], user, in))
	}
}

// setSecret brings the password field to want's password and lock. A new user gets one: "*" is no password.
func (db *databases) setSecret(want User, created bool) error {
	old, _ := db.secret(want.Name)
	if created {
		old = "*"
	}
	field := old
	if p := want.Password; p != nil {
		switch {
		case crypted(*p):
			field = *p
		case matches(*p, unlocked(old)):
			field = unlocked(old)
		default:
			var err error
			if field, err = hashPassword(*p, db.cryptMethod()); err != nil {
				return err
			}
		}
		// The lock of an account that had no password only said so; any other stays until locked says otherwise.
		if strings.HasPrefix(old, "!") && unlocked(old) != old && !strings.HasPrefix(field, "!") {
			field = "!" + field
		}
	}
	if l := want.Locked; l != nil && *l != strings.HasPrefix(field, "!") {
		switch {
		case *l:
			field = "!" + field
		case strings.Trim(field, "!") == "":
			field = "*" // opening it must not let everybody in
		default:
			field = unlocked(field)
		}
	}
	if field == old && !created {
		return nil
	}
	e := db.passwd.find(want.Name)
	if db.shadow.missing() || e[pwSecret] != "x" {
		db.passwd.change(want.Name, pwSecret, field)
		return nil
	}
	s := slices.Clone(db.shadow.find(want.Name))
	if s == nil || created {
		s = db.newShadow(want)
	}
	if unlocked(field) != unlocked(old) || created {
		s[spChanged] = today()
	}
	s[spSecret] = field
	db.shadow.set(s...)
	return nil
}

func (db *databases) newShadow(want User) []string {
	s := make([]string, spLast+1)
	s[0], s[spChanged], s[spSecret] = want.Name, today(), "*"
	if !want.System {
		s[spMin], s[spMax], s[spWarn] = db.defs["PASS_MIN_DAYS"], db.defs["PASS_MAX_DAYS"], db.defs["PASS_WARN_AGE"]
		if n, err := strconv.Atoi(db.useradd["INACTIVE"]); err == nil && n >= 0 {
			s[spInactive] = strconv.Itoa(n)
		}
		s[spExpire], _ = expiryField(cmp.Or(db.useradd["EXPIRE"], never))
	}
	return s
}

var errNoShadow = errors.New("this device has no /etc/shadow, where that would be kept")

func (db *databases) setExpiry(name, date string) error {
	days, err := expiryField(date)
	if err != nil {
		return err
	}
	s := slices.Clone(db.shadow.find(name))
	switch {
	case s == nil && days == "":
		return nil
	case db.shadow.missing():
		return fmt.Errorf("expires %s: %w", date, errNoShadow)
	case s == nil:
		secret, _ := db.secret(name)
		s = make([]string, spLast+1)
		s[0], s[spSecret] = name, secret
	}
	if expiryDate(s[spExpire]) != date {
		s[spExpire] = days
	}
	db.shadow.set(s...)
	return nil
}

// removeUser removes the home first and the entry of passwd last: whatever interrupts it, the user is still there to be
// removed.
func removeUser(ctx context.Context, h *host.Host, want User) error {
	db := load(h)
	if err := db.passwd.intact(want.Name); err != nil {
		return err
	}
	e := db.passwd.find(want.Name)
	if e == nil {
		return nil
	}
	if e[pwUID] == "0" {
		return fmt.Errorf("user %s has uid 0 and is not removed", want.Name)
	}
	if err := idle(h, want.Name, e[pwUID]); err != nil {
		return err
	}
	if want.RemoveHome {
		if err := db.removeHome(e); err != nil {
			return err
		}
	}
	keepGroup := false
	if want.Record != nil {
		if err := db.removeNewHome(want.Record); err != nil {
			return err
		}
		keepGroup = want.Record.fields(db.group) != nil
	}
	return edit(ctx, h, func(db *databases) error {
		for _, g := range db.group.entries() {
			db.member(g[0], want.Name, false)
		}
		for _, g := range db.gshadow.entries() {
			db.gshadow.change(g[0], sgAdmins, alter(g[sgAdmins], want.Name, false))
		}
		for _, t := range []*table{db.passwd, db.shadow, db.subuid, db.subgid} {
			t.remove(want.Name)
		}
		// The private group goes along, unless somebody else is in it by now.
		own := db.group.find(want.Name)
		if own != nil && !keepGroup && db.yes("USERGROUPS_ENAB", true) && own[grGID] == e[pwGID] && own[grMembers] == "" && len(db.primaryOf(own[grGID])) == 0 {
			return db.removeGroup(want.Name)
		}
		return nil
	})
}

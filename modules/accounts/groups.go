package accounts

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

// Group is a group of the device itself: of /etc/group, or a local group of Windows. Who is in it is declared with the users.
type Group struct {
	// Name is the group's name: on Linux at most 32 lower-case letters, digits, "-", "_" and ".", a letter or "_" first; on
	// Windows at most 256 characters, but none of "/\[]:;|=,+*?<>@.
	Name string `json:"name" fit:"key" title:"Name" pattern:"^\\S(.*\\S)?$" example:"sales"`
	// GID is its number. Without it a new group gets the next free one of the range that /etc/login.defs gives. When
	// it changes, users whose primary group it is follow; files keep the old number.
	GID *int `json:"gid,omitzero" fit:"managed" title:"Group number" on:"linux" minimum:"0" example:"5000"`
	// Give a new group a number of the system's range. An existing one keeps its number.
	System bool `json:"system,omitzero" fit:"behaviour" title:"System group" on:"linux" default:"false"`
	// Members are the users that have it as a supplementary group.
	Members []string `json:"members,omitzero" fit:"observed" title:"Members"`
	// State is whether the group should exist. A group that is somebody's primary group can't be removed.
	State string `json:"state,omitzero" fit:"state" title:"State" enum:"present,absent"`

	// What the databases have of it, line by line.
	Record *Record `json:"record,omitzero" fit:"observed,secret" title:"Entries"`
}

// Groups is the resource type of groups.
type Groups struct{}

var (
	_ modules.Resource[Group]        = Groups{}
	_ modules.Inverter[Group]        = Groups{}
	_ modules.Checker[Group]         = Groups{}
	_ modules.PlatformChecker[Group] = Groups{}
	_ modules.Platformed             = Groups{}
	_ modules.Experimenter           = Groups{}
)

// Platforms says where groups exist.
func (Groups) Platforms() []string { return []string{"linux", "windows"} }

// Experimental says where no real system's groups could be changed.
func (Groups) Experimental() []string { return []string{"windows"} }

// Check finds numbers that can't be.
func (Groups) Check(want Group) error { return checkID("gid", want.GID) }

// CheckOn finds names that can't be.
func (Groups) CheckOn(os string, want Group) error {
	if os == "windows" {
		return checkAccountName("group", want.Name, 256)
	}
	return checkName("group", want.Name)
}

// Observe reads /etc/group.
func (Groups) Observe(_ context.Context, h *host.Host, want Group) (Group, error) {
	if h.OS() == "windows" {
		return observeAccountGroup(h, want)
	}
	db, err := observed(h)
	if err != nil {
		return Group{}, err
	}
	if err := db.group.intact(want.Name); err != nil {
		return Group{}, err
	}
	e := db.group.find(want.Name)
	if e == nil {
		return Group{Name: want.Name, State: modules.Absent}, nil
	}
	gid, _ := strconv.Atoi(e[grGID])
	return Group{Name: want.Name, GID: &gid, Members: list(e[grMembers]), State: modules.Present,
		Record: &Record{Entries: db.record(want.Name, db.group, db.gshadow).Entries}}, nil
}

// Apply edits /etc/group and /etc/gshadow.
func (g Groups) Apply(ctx context.Context, h *host.Host, want, _ Group) (modules.Outcome, error) {
	if h.OS() == "windows" {
		return modules.Outcome{}, applyAccountGroup(h, want)
	}
	if err := errors.Join(g.Check(want), g.CheckOn("linux", want)); err != nil {
		return modules.Outcome{}, err
	}
	return modules.Outcome{}, edit(ctx, h, func(db *databases) error {
		if want.State == modules.Absent {
			return db.removeGroup(want.Name)
		}
		e := db.group.find(want.Name)
		if e == nil && want.Record != nil {
			return db.recreate(ctx, want.Name, want.Record)
		}
		if e == nil {
			_, err := db.addGroup(ctx, want.Name, want.GID, want.System)
			return err
		}
		if want.GID == nil || e[grGID] == strconv.Itoa(*want.GID) {
			return nil
		}
		return db.renumberGroup(want.Name, e[grGID], *want.GID)
	})
}

// Inverse puts a removed group back with its members, and a number where want had set it.
func (Groups) Inverse(want, have Group) (Group, error) {
	if have.State != modules.Absent && have.Record == nil {
		return have, fmt.Errorf("the members and rights of group %s would be lost", have.Name) // Windows knows it by its SID
	}
	back := Group{Name: have.Name, State: have.State}
	switch {
	case have.State == modules.Absent:
	case want.State == modules.Absent:
		back.GID, back.Record = have.GID, have.Record
		return back, have.Record.plain()
	case want.GID != nil:
		back.GID = have.GID
	}
	return back, nil
}

// addGroup adds a group and returns its number: gid, or the next free one.
func (db *databases) addGroup(ctx context.Context, name string, gid *int, system bool) (int, error) {
	if err := db.foreign(ctx, "group", "group", name); err != nil {
		return 0, err
	}
	if gid == nil {
		free, err := db.freeID(ctx, "group", system)
		if err != nil {
			return 0, err
		}
		gid = &free
	} else if owner := ids(db.group, grGID)[*gid]; owner != "" {
		return 0, taken("gid", *gid, "group", owner)
	}
	db.group.set(name, "x", strconv.Itoa(*gid), "")
	if !db.gshadow.missing() {
		db.gshadow.set(name, "!", "", "")
	}
	return *gid, nil
}

func (db *databases) removeGroup(name string) error {
	e := db.group.find(name)
	if e == nil {
		return nil
	}
	if of := db.primaryOf(e[grGID]); len(of) > 0 {
		return hint.New(fmt.Errorf("group %s is the primary group of %s", name, strings.Join(of, ", ")),
			"give these users another group first, or remove them")
	}
	db.group.remove(name)
	db.gshadow.remove(name)
	return nil
}

func (db *databases) renumberGroup(name, old string, gid int) error {
	if owner := ids(db.group, grGID)[gid]; owner != "" {
		return taken("gid", gid, "group", owner)
	}
	for _, user := range db.primaryOf(old) {
		db.passwd.change(user, pwGID, strconv.Itoa(gid))
	}
	// Saved before the group: a crash between the two leaves the group's old number, and this is done again.
	if err := db.passwd.save(db.h); err != nil {
		return err
	}
	db.group.change(name, grGID, strconv.Itoa(gid))
	return nil
}

// primaryOf lists the users whose primary group has a number.
func (db *databases) primaryOf(gid string) []string {
	var users []string
	for _, e := range db.passwd.entries() {
		if e[pwGID] == gid && !slices.Contains(users, e[0]) {
			users = append(users, e[0])
		}
	}
	return users
}

func taken(property string, id int, kind, owner string) error {
	return hint.New(fmt.Errorf("%s %d is taken by %s %s", property, id, kind, owner), "declare another number, or leave it out")
}

// checkName holds Debian's NAME_REGEX, and the dots that directories love.
func checkName(kind, name string) error {
	const first, later = "abcdefghijklmnopqrstuvwxyz_", "abcdefghijklmnopqrstuvwxyz_0123456789-."
	rest := strings.TrimSuffix(name, "$")
	if rest == "" || len(name) > 32 || !strings.ContainsRune(first, rune(rest[0])) || strings.Trim(rest, later) != "" {
		return hint.New(fmt.Errorf("%s name %q is not valid", kind, name),
			"at most 32 lower-case letters, digits, \"-\", \"_\" and \".\", a letter or \"_\" first")
	}
	return nil
}

func checkID(property string, id *int) error {
	if id == nil {
		return nil
	}
	if *id < 0 || *id >= 1<<32-1 || *id == 1<<16-1 { // both mean "no user" to some call
		return fmt.Errorf("%s %d is not valid", property, *id)
	}
	return nil
}

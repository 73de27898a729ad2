package accounts

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// Fields of the databases: passwd(5), shadow(5), group(5), gshadow(5).
const (
	pwSecret, pwUID, pwGID, pwGECOS, pwHome, pwShell                        = 1, 2, 3, 4, 5, 6
	spSecret, spChanged, spMin, spMax, spWarn, spInactive, spExpire, spLast = 1, 2, 3, 4, 5, 6, 7, 8
	grGID, grMembers                                                        = 2, 3
	sgAdmins, sgMembers                                                     = 2, 3
)

// now is the clock; tests set it.
var now = time.Now

// databases are a device's users and groups, with its rules for new ones.
type databases struct {
	h                                              *host.Host
	passwd, shadow, group, gshadow, subuid, subgid *table
	defs                                           map[string]string // login.defs
	useradd                                        map[string]string // default/useradd
}

func load(h *host.Host) *databases {
	return &databases{
		h:       h,
		passwd:  readTable(h, "/etc/passwd", passwdForm),
		shadow:  readTable(h, "/etc/shadow", shadowForm),
		group:   readTable(h, "/etc/group", groupForm),
		gshadow: readTable(h, "/etc/gshadow", gshadowForm),
		subuid:  readTable(h, "/etc/subuid", subidForm),
		subgid:  readTable(h, "/etc/subgid", subidForm),
		defs:    settings(h, "/etc/login.defs", " \t"),
		useradd: settings(h, "/etc/default/useradd", "="),
	}
}

// observed are the databases as all resources of one observation see them.
func observed(h *host.Host) (*databases, error) {
	db, err := host.Memo(h, "account databases", func() (*databases, error) { return load(h), nil })
	if err != nil {
		return nil, err
	}
	return db, db.readable()
}

func (db *databases) readable() error {
	for _, t := range []*table{db.passwd, db.group} {
		if t.err != nil && !t.missing() {
			return t.err
		}
	}
	return nil
}

// edit changes the databases under their lock. What change returns is saved in this order, so that an entry of passwd
// is the last thing that comes and the last that goes: before it, nothing counts as there.
func edit(ctx context.Context, h *host.Host, change func(*databases) error) error {
	unlock, err := h.LockAccounts(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	db := load(h)
	for _, t := range []*table{db.passwd, db.shadow, db.group, db.gshadow, db.subuid, db.subgid} {
		if t.err != nil && !t.missing() {
			return t.err
		}
	}
	if err := change(db); err != nil {
		return err
	}
	if err := db.save(); err != nil {
		return err
	}
	db.flushCaches(ctx)
	return nil
}

func (db *databases) save() error {
	for _, t := range []*table{db.subuid, db.subgid, db.gshadow, db.group, db.shadow, db.passwd} {
		if err := t.save(db.h); err != nil {
			return err
		}
	}
	return nil
}

// flushCaches tells the caching daemons, as useradd does.
func (db *databases) flushCaches(ctx context.Context) {
	h := db.h
	if !h.Living() {
		return
	}
	if h.Exists("/run/nscd/socket") {
		for _, t := range []string{"passwd", "group"} {
			if res, err := h.Run(ctx, host.Cmd{Args: []string{"nscd", "-i", t}}); err != nil || res.Code != 0 {
				h.Log().Warn("nscd may answer with old entries", "table", t, "error", err)
			}
		}
	}
}

// settings reads a file of names and values. What is missing has the defaults of shadow's tools.
func settings(h *host.Host, file, separators string) map[string]string {
	out := map[string]string{}
	b, err := h.ReadFile(file)
	if err != nil {
		return out
	}
	for l := range strings.Lines(string(b)) {
		l = strings.TrimSpace(l)
		i := strings.IndexAny(l, separators)
		if strings.HasPrefix(l, "#") || i < 0 {
			continue
		}
		out[l[:i]] = strings.Trim(strings.TrimSpace(l[i+1:]), `"`)
	}
	return out
}

// number is a number of login.defs, which may be octal.
func (db *databases) number(name string, otherwise int) int {
	if n, err := strconv.ParseInt(db.defs[name], 0, 64); err == nil {
		return int(n)
	}
	return otherwise
}

func (db *databases) yes(name string, otherwise bool) bool {
	switch strings.ToLower(db.defs[name]) {
	case "yes":
		return true
	case "no":
		return false
	}
	return otherwise
}

func (db *databases) defaultHome(name string) string {
	return path.Join(cmp.Or(db.useradd["HOME"], "/home"), name)
}

func (db *databases) defaultShell() string { return cmp.Or(db.useradd["SHELL"], "/bin/sh") }

// today is the day as shadow(5) counts it.
func today() string { return strconv.FormatInt(now().Unix()/86400, 10) }

// ids are the numbers in use, by who has them.
func ids(t *table, field int) map[int]string {
	used := map[int]string{}
	for _, e := range t.entries() {
		id, _ := strconv.Atoi(e[field])
		if _, twice := used[id]; !twice {
			used[id] = e[0]
		}
	}
	return used
}

func (db *databases) rangeOf(kind string, system bool) (low, high int) {
	low, high = db.number(kind+"_MIN", 1000), db.number(kind+"_MAX", 60000)
	if system {
		low, high = db.number("SYS_"+kind+"_MIN", 100), db.number("SYS_"+kind+"_MAX", low-1)
	}
	return max(low, 0), min(high, 1<<32-2)
}

// freeID chooses a number for a new user or group: the one above the highest, or the first gap when there is no room;
// for the system's own the other way round, as useradd does.
func (db *databases) freeID(ctx context.Context, database string, system bool) (int, error) {
	kind, used := "UID", ids(db.passwd, pwUID)
	if database == "group" {
		kind, used = "GID", ids(db.group, grGID)
	}
	low, high := db.rangeOf(kind, system)
	free := func(id int) bool {
		if id < low || id > high || used[id] != "" || checkID(kind, &id) != nil {
			return false
		}
		_, foreign := db.h.Getent(ctx, database, strconv.Itoa(id))
		return !foreign
	}
	next := low
	if system {
		next = high
	}
	for id := range used {
		if id < low || id > high {
			continue
		}
		if system {
			next = min(next, id-1)
		} else {
			next = max(next, id+1)
		}
	}
	if free(next) {
		return next, nil
	}
	for i := range high - low + 1 {
		id := low + i
		if system {
			id = high - i
		}
		if free(id) {
			return id, nil
		}
	}
	return 0, hint.New(fmt.Errorf("no free %s between %d and %d", kind, low, high), "widen %s_MIN and %s_MAX in /etc/login.defs, or declare a number", kind, kind)
}

// addSubIDs gives a user its range of subordinate numbers, for containers: subuid(5).
func (db *databases) addSubIDs(name string) error {
	for _, s := range []struct {
		t    *table
		kind string
	}{{db.subuid, "UID"}, {db.subgid, "GID"}} {
		count := db.number("SUB_"+s.kind+"_COUNT", 65536)
		if s.t.missing() || count == 0 || s.t.find(name) != nil {
			continue
		}
		low, high := db.number("SUB_"+s.kind+"_MIN", 100000), min(db.number("SUB_"+s.kind+"_MAX", 600100000), 1<<32-1)
		start := low
		for moved := true; moved; {
			moved = false
			for _, e := range s.t.entries() {
				from, _ := strconv.Atoi(e[1])
				size, _ := strconv.Atoi(e[2])
				if start < from+size && from < start+count {
					start, moved = from+size, true
				}
			}
		}
		if start < 0 || count < 0 || start > high-count+1 {
			return fmt.Errorf("%s: no free range of %d below %d", s.t.path, count, high)
		}
		s.t.set(name, strconv.Itoa(start), strconv.Itoa(count))
	}
	return nil
}

// foreign fails where another name service than the files knows a name that is about to be created.
func (db *databases) foreign(ctx context.Context, database, kind, name string) error {
	if f, ok := db.h.Getent(ctx, database, name); ok {
		return hint.New(fmt.Errorf("%s %q exists already, with number %s, in another name service than the files", kind, name, f[2]),
			"manage it there, or give this one another name; see /etc/nsswitch.conf and `getent %s %s`", database, name)
	}
	return nil
}

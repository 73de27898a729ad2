package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/fitout-dev/fitout/modules/hint"
)

// names are the users and groups of a root, from its own /etc/passwd and /etc/group. What these don't know, a living
// device's other name services are asked for.
type names struct {
	uid, gid        map[string]int
	userOf, groupOf map[int]string
}

func (h *Host) names() (*names, error) {
	return Memo(h, "names of users and groups", func() (*names, error) {
		n := &names{uid: map[string]int{}, gid: map[string]int{}, userOf: map[int]string{}, groupOf: map[int]string{}}
		for _, db := range []struct {
			path string
			id   map[string]int
			name map[int]string
		}{{"/etc/passwd", n.uid, n.userOf}, {"/etc/group", n.gid, n.groupOf}} {
			b, err := h.ReadFile(db.path)
			if err != nil && !errors.Is(err, fs.ErrNotExist) { // a bare root has numbers only
				return nil, err
			}
			for line := range strings.SplitSeq(string(b), "\n") {
				f := strings.SplitN(line, ":", 4)
				if len(f) < 4 || f[0] == "" || strings.ContainsAny(f[0][:1], "+-#") { // NIS, comments
					continue
				}
				id, ok := number(f[2])
				if !ok {
					continue
				}
				if _, twice := db.id[f[0]]; !twice {
					db.id[f[0]] = id
				}
				if _, twice := db.name[id]; !twice {
					db.name[id] = f[0]
				}
			}
		}
		return n, nil
	})
}

// UID turns a user's name, or a number, into a number.
func (h *Host) UID(name string) (int, error) {
	n, err := h.names()
	if err != nil {
		return 0, err
	}
	return h.id(n.uid, "user", "passwd", name)
}

// GID turns a group's name, or a number, into a number.
func (h *Host) GID(name string) (int, error) {
	n, err := h.names()
	if err != nil {
		return 0, err
	}
	return h.id(n.gid, "group", "group", name)
}

func (h *Host) id(ids map[string]int, kind, database, name string) (int, error) {
	if i, ok := ids[name]; ok {
		return i, nil
	}
	if i, ok := number(name); ok {
		return i, nil
	}
	if f, ok := h.Getent(context.Background(), database, name); ok {
		if i, ok := number(f[2]); ok {
			return i, nil
		}
	}
	return 0, hint.New(fmt.Errorf("no %s %q on this device", kind, name), "declare it under %ss, or correct the name", kind)
}

// number is a user's or group's number. The highest one stands for "leave as it is" where an owner is changed, and is
// nobody's.
func number(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return int(n), err == nil && n != 1<<32-1
}

// UserName is the name of a user's number, or the number itself where none has it.
func (h *Host) UserName(uid int) string {
	n, err := h.names()
	if err == nil && n.userOf[uid] != "" {
		return n.userOf[uid]
	}
	return h.nameOf("passwd", uid)
}

// GroupName is the name of a group's number, or the number itself where none has it.
func (h *Host) GroupName(gid int) string {
	n, err := h.names()
	if err == nil && n.groupOf[gid] != "" {
		return n.groupOf[gid]
	}
	return h.nameOf("group", gid)
}

func (h *Host) nameOf(database string, id int) string {
	number := strconv.Itoa(id)
	if f, ok := h.Getent(context.Background(), database, number); ok && f[0] != "" {
		return f[0]
	}
	return number
}

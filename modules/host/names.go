package host

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/fitout-dev/fitout/modules/hint"
)

// names are the users and groups of a root, from its own /etc/passwd and /etc/group.
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
			if err != nil {
				return nil, err
			}
			for line := range strings.SplitSeq(string(b), "\n") {
				f := strings.SplitN(line, ":", 4)
				if len(f) < 4 {
					continue
				}
				id, err := strconv.Atoi(f[2])
				if err != nil {
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
	return id(n.uid, "user", name)
}

// GID turns a group's name, or a number, into a number.
func (h *Host) GID(name string) (int, error) {
	n, err := h.names()
	if err != nil {
		return 0, err
	}
	return id(n.gid, "group", name)
}

func id(ids map[string]int, kind, name string) (int, error) {
	if i, ok := ids[name]; ok {
		return i, nil
	}
	if i, err := strconv.Atoi(name); err == nil && i >= 0 {
		return i, nil
	}
	return 0, hint.New(fmt.Errorf("no %s %q on this device", kind, name), "declare it under %ss, or correct the name", kind)
}

// UserName is the name of a user's number, or the number itself where none has it.
func (h *Host) UserName(uid int) string {
	if n, err := h.names(); err == nil && n.userOf[uid] != "" {
		return n.userOf[uid]
	}
	return strconv.Itoa(uid)
}

// GroupName is the name of a group's number, or the number itself where none has it.
func (h *Host) GroupName(gid int) string {
	if n, err := h.names(); err == nil && n.groupOf[gid] != "" {
		return n.groupOf[gid]
	}
	return strconv.Itoa(gid)
}

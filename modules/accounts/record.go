package accounts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/fitout-dev/fitout/modules/host"
)

// Record is what undo needs of an account beyond its properties, to put it back to the letter.
type Record struct {
	// Entries are its own lines, by the name of the database.
	Entries map[string][]Entry `json:"entries,omitzero" title:"Entries"`
	// Members are the groups that name it.
	Members map[string]Members `json:"members,omitzero" title:"Members"`
	// Keys is its authorized_keys, where that is looked at.
	Keys *Keys `json:"keys,omitzero" title:"Keys"`
	// NewHome is the home that is missing and will be made.
	NewHome string `json:"newHome,omitzero" title:"New home"`
	// Above is how many folders above a new or moved home are missing.
	Above int `json:"above,omitzero" title:"Missing folders above"`
	// Lost is what removing its home takes away.
	Lost string `json:"lost,omitzero" title:"Lost"`
}

// Entry is a line of a database with its number, from 1.
type Entry struct {
	// Number is the line's, from 1.
	Number int `json:"number" title:"Number"`
	// Text is the line with its ending.
	Text string `json:"text" title:"Text"`
}

// Members are the names that group and gshadow have for a group.
type Members struct {
	// Group is the list in group.
	Group string `json:"group,omitzero" title:"Group"`
	// Gshadow is the list in gshadow.
	Gshadow string `json:"gshadow,omitzero" title:"Shadow group"`
	// Admins are its administrators in gshadow.
	Admins string `json:"admins,omitzero" title:"Administrators"`
}

// Keys is a file authorized_keys, and whether it and its folder are there.
type Keys struct {
	// Text is what is in it.
	Text string `json:"text,omitzero" title:"Text"`
	// Mode is the file's.
	Mode uint32 `json:"mode,omitzero" title:"Mode"`
	// File is whether it is there.
	File bool `json:"file,omitzero" title:"File"`
	// Folder is whether its folder is.
	Folder bool `json:"folder,omitzero" title:"Folder"`
}

// own are the databases that have lines of an account's own.
func (db *databases) own() []*table {
	return []*table{db.passwd, db.shadow, db.group, db.gshadow, db.subuid, db.subgid}
}

func (db *databases) record(name string, tables ...*table) *Record {
	r := &Record{Entries: map[string][]Entry{}, Members: map[string]Members{}}
	for _, t := range tables {
		for i, l := range t.lines {
			if l.fields != nil && l.fields[0] == name {
				r.Entries[path.Base(t.path)] = append(r.Entries[path.Base(t.path)], Entry{i + 1, l.text})
			}
		}
	}
	for _, g := range db.group.entries() {
		m := Members{Group: g[grMembers]}
		if s := db.gshadow.find(g[0]); s != nil {
			m.Gshadow, m.Admins = s[sgMembers], s[sgAdmins]
		}
		if slices.Contains(slices.Concat(list(m.Group), list(m.Gshadow), list(m.Admins)), name) {
			r.Members[g[0]] = m
		}
	}
	return r
}

// plain says why JSON couldn't hold it.
func (r *Record) plain() error {
	for database, entries := range r.Entries {
		for _, e := range entries {
			if !utf8.ValidString(e.Text) || strings.ContainsRune(e.Text, utf8.RuneError) { // JSON makes one the other
				return fmt.Errorf("line %d of /etc/%s holds bytes that are no UTF-8, which would be lost", e.Number, database)
			}
		}
	}
	return nil
}

// fields are those of the first recorded entry, or nil.
func (r *Record) fields(t *table) []string {
	for _, e := range r.Entries[path.Base(t.path)] {
		return parseTable(t.path, e.Text, t.form).lines[0].fields
	}
	return nil
}

// recreate puts the lines of an account that is gone in their places. A group of its name that is there stays as it is.
func (db *databases) recreate(ctx context.Context, name string, r *Record) error {
	if f := r.fields(db.group); f != nil && db.group.find(name) == nil {
		if gid, _ := strconv.Atoi(f[grGID]); ids(db.group, grGID)[gid] != "" {
			return taken("gid", gid, "group", ids(db.group, grGID)[gid])
		}
		if err := db.foreign(ctx, "group", "group", name); err != nil {
			return err
		}
		db.gshadow.remove(name) // of a restoration that was interrupted
		db.group.putBack(r)
		db.gshadow.putBack(r)
	}
	f := r.fields(db.passwd)
	if f == nil {
		return nil
	}
	if uid, _ := strconv.Atoi(f[pwUID]); ids(db.passwd, pwUID)[uid] != "" {
		return taken("uid", uid, "user", ids(db.passwd, pwUID)[uid])
	}
	if err := db.foreign(ctx, "passwd", "user", name); err != nil {
		return err
	}
	for _, t := range []*table{db.passwd, db.shadow, db.subuid, db.subgid} {
		t.remove(name) // what a deletion by others has left
		t.putBack(r)
	}
	db.restoreMembers(name, r)
	return nil
}

// putBack inserts recorded lines where they were.
func (t *table) putBack(r *Record) {
	if t.missing() {
		return
	}
	for _, e := range r.Entries[path.Base(t.path)] {
		at := min(max(e.Number-1, 0), len(t.lines))
		if at > 0 && !strings.HasSuffix(t.lines[at-1].text, "\n") {
			t.lines[at-1].text += "\n"
		}
		t.lines = slices.Insert(t.lines, at, parseTable(t.path, e.Text, t.form).lines...)
	}
}

// respell gives an entry that says the same as a recorded one its exact text.
func (t *table) respell(name string, r *Record) {
	if old := r.fields(t); old != nil && slices.Equal(t.find(name), old) {
		i := slices.IndexFunc(t.lines, func(l line) bool { return l.fields != nil && l.fields[0] == name })
		t.lines[i].text = r.Entries[path.Base(t.path)][0].Text
	}
}

// restoreSecret puts back password, its day and the day of expiry.
func (db *databases) restoreSecret(name string, r *Record) {
	if old := r.fields(db.passwd); old != nil {
		db.passwd.change(name, pwSecret, old[pwSecret])
	}
	old, now := r.fields(db.shadow), slices.Clone(db.shadow.find(name))
	switch {
	case db.shadow.missing():
	case old == nil:
		db.shadow.remove(name)
	case now == nil:
		db.shadow.putBack(r)
	default:
		now[spSecret], now[spChanged], now[spExpire] = old[spSecret], old[spChanged], old[spExpire]
		db.shadow.set(now...)
	}
	db.passwd.respell(name, r)
	db.shadow.respell(name, r)
}

// restoreMembers brings the user into the groups that named it, and out of all others.
func (db *databases) restoreMembers(name string, r *Record) {
	restore := func(t *table, group string, field int, was string) {
		e := t.find(group)
		if e == nil {
			return
		}
		now := alter(e[field], name, slices.Contains(list(was), name))
		if sameNames(now, was) {
			now = was
		}
		t.change(group, field, now)
	}
	for _, g := range db.group.entries() {
		was := r.Members[g[0]]
		restore(db.group, g[0], grMembers, was.Group)
		restore(db.gshadow, g[0], sgMembers, was.Gshadow)
		restore(db.gshadow, g[0], sgAdmins, was.Admins)
	}
}

func sameNames(a, b string) bool {
	return slices.Equal(slices.Sorted(slices.Values(list(a))), slices.Sorted(slices.Values(list(b))))
}

// newHome tells of the home that a change would make.
func (db *databases) newHome(want User, e []string, r *Record) {
	home := db.defaultHome(want.Name)
	if want.Home != nil {
		home = *want.Home
	}
	home = path.Clean(home)
	moved := e != nil && want.MoveHome && isFolder(db.h, e[pwHome])
	if !wantsHome(want) && !moved || e != nil && want.Home == nil || db.h.Exists(home) || home == "/nonexistent" {
		return
	}
	if !moved {
		r.NewHome = home
	}
	for dir := path.Dir(home); !db.h.Exists(dir) && dir != "/"; dir = path.Dir(dir) {
		r.Above++
	}
}

// lost names what goes with a user whose home is removed.
func (db *databases) lost(e []string) string {
	if isFolder(db.h, e[pwHome]) {
		return "the contents of the home folder " + e[pwHome]
	}
	if mail := db.mailbox(e[0]); db.h.Exists(mail) {
		return "the mailbox " + mail
	}
	return ""
}

func (db *databases) mailbox(name string) string {
	return path.Join(cmp.Or(db.defs["MAIL_DIR"], "/var/mail"), name)
}

// removeNewHome removes the home that a change had made, if nobody has left anything there since.
func (db *databases) removeNewHome(r *Record) error {
	if r.NewHome == "" {
		return nil
	}
	if db.h.Exists(r.NewHome) {
		untouched, err := db.untouched(r.NewHome)
		if err != nil {
			return err
		}
		if !untouched {
			db.h.Log().Warn("kept the home: there is more in it than what it was made with", "home", r.NewHome)
			return nil
		}
		if err := db.h.RemoveAll(r.NewHome); err != nil {
			return err
		}
	}
	return r.removeAbove(db.h, r.NewHome)
}

// removeAbove removes the folders above a home that were made for it, as far as they are empty.
func (r *Record) removeAbove(h *host.Host, home string) error {
	dir := path.Dir(path.Clean(home))
	for range r.Above {
		if names, err := h.ReadDir(dir); err == nil {
			if len(names) > 0 {
				return nil
			}
			if err := h.Remove(dir); err != nil {
				return err
			}
		}
		dir = path.Dir(dir)
	}
	return nil
}

// untouched says whether a home holds nothing but what a new one does, and SSH keys.
func (db *databases) untouched(home string) (bool, error) {
	tree, err := db.h.Tree(home)
	if err != nil {
		return false, err
	}
	defer tree.Close()
	different := errors.New("different")
	err = tree.Walk(func(name string, i host.Info) error {
		name = filepath.ToSlash(name)
		if name == sshFolder && i.Kind == host.KindDirectory || name == sshFolder+"/"+keysFile && i.Kind == host.KindFile {
			return nil
		}
		from, at := path.Join(cmp.Or(db.useradd["SKEL"], "/etc/skel"), name), path.Join(home, name)
		skel, err := db.h.Lstat(from)
		if err != nil || skel.Kind != i.Kind {
			return different
		}
		switch i.Kind {
		case host.KindLink:
			now, err := db.h.Lstat(at)
			if err != nil || now.Target != skel.Target {
				return different
			}
		case host.KindFile:
			was, err := db.h.HashFile(from)
			if err != nil {
				return err
			}
			if now, err := db.h.HashFile(at); err != nil || now != was {
				return different
			}
		}
		return nil
	})
	if errors.Is(err, different) {
		return false, nil
	}
	return err == nil, err
}

// recordKeys reads authorized_keys as it stands.
func recordKeys(h *host.Host, e []string) (*Keys, error) {
	home, ssh, err := openSSH(h, e)
	if home != nil {
		defer home.Close()
	}
	if errors.Is(err, fs.ErrNotExist) {
		return &Keys{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer ssh.Close()
	b, err := ssh.ReadFile(keysFile)
	if errors.Is(err, fs.ErrNotExist) {
		return &Keys{Folder: true}, nil
	}
	if err != nil {
		return nil, err
	}
	i, err := ssh.Lstat(keysFile)
	return &Keys{string(b), i.Mode, true, true}, err
}

// spelled is the text of authorized_keys that says the same as merged in k's words: lines that came since stay.
func (k *Keys) spelled(merged string) string {
	if sameLines(merged, k.Text) {
		return k.Text
	}
	return merged
}

// unmake removes an empty authorized_keys that wasn't there, and its folder likewise.
func (k *Keys) unmake(h *host.Host, home, ssh *host.Folder) error {
	if err := ssh.Remove(keysFile); err != nil {
		return err
	}
	if names, err := h.ReadDir(ssh.Name(".")); err != nil || k.Folder || len(names) > 0 {
		return err
	}
	return home.Remove(sshFolder)
}

func sameLines(a, b string) bool {
	lines := func(s string) []string {
		var out []string
		for l := range strings.Lines(s) {
			out = append(out, strings.TrimSpace(l))
		}
		slices.Sort(out)
		return out
	}
	return slices.Equal(lines(a), lines(b))
}

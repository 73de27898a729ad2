package accounts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// createHome makes the home of an entry where it is missing, from /etc/skel, in one step: it is filled under another
// name that only root can enter.
func (db *databases) createHome(e []string) error {
	h, home := db.h, path.Clean(e[pwHome])
	if h.Exists(home) || home == "/" || home == "/nonexistent" {
		return nil
	}
	uid, _ := strconv.Atoi(e[pwUID])
	gid, _ := strconv.Atoi(e[pwGID])
	if err := mkdirAll(h, path.Dir(home)); err != nil {
		return err
	}
	tmp := path.Join(path.Dir(home), host.TempPrefix+"home-"+e[0])
	if err := h.RemoveAll(tmp); err != nil {
		return err
	}
	if err := h.Mkdir(tmp, host.Attr{Mode: modules.Ptr(uint32(0o700))}); err != nil {
		return err
	}
	if err := copyTree(h, cmp.Or(db.useradd["SKEL"], "/etc/skel"), tmp, uid, gid); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	mode := db.number("HOME_MODE", 0o777&^db.number("UMASK", 0o022))
	if err := give(h, tmp, uid, gid); err != nil {
		return err
	}
	if err := h.Chmod(tmp, uint32(mode)); err != nil {
		return err
	}
	return h.Rename(tmp, home)
}

func mkdirAll(h *host.Host, dir string) error {
	if isFolder(h, dir) {
		return nil
	}
	if err := mkdirAll(h, path.Dir(dir)); err != nil {
		return err
	}
	return h.Mkdir(dir, host.Attr{})
}

func copyTree(h *host.Host, from, to string, uid, gid int) error {
	names, err := h.ReadDir(from)
	if err != nil {
		return err
	}
	for _, n := range names {
		src, dst := path.Join(from, n), path.Join(to, n)
		i, err := h.Lstat(src)
		if err != nil {
			return err
		}
		switch i.Kind {
		case host.KindDirectory:
			if err = h.Mkdir(dst, host.Attr{Mode: &i.Mode}); err == nil {
				err = copyTree(h, src, dst, uid, gid)
			}
		case host.KindLink:
			err = h.Symlink(i.Target, dst)
		case host.KindFile:
			err = copyFile(h, src, dst, i.Mode)
		default:
			continue
		}
		if err != nil {
			return err
		}
		if err := give(h, dst, uid, gid); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(h *host.Host, from, to string, mode uint32) error {
	f, err := h.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return h.Write(to, f, host.Attr{Mode: &mode})
}

// give makes something the user's. In another root without root's rights it stays ours, as all there is.
func give(h *host.Host, name string, uid, gid int) error {
	err := h.Chown(name, &uid, &gid)
	if !h.Living() && errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// giveHome makes the home and what belongs to the user in it follow the user's new numbers.
func giveHome(h *host.Host, e []string, uid, gid string) error {
	if !isFolder(h, e[pwHome]) {
		return nil
	}
	f, err := h.OpenFolder(e[pwHome])
	if err != nil {
		return err
	}
	defer f.Close()
	oldUID, _ := strconv.Atoi(e[pwUID])
	oldGID, _ := strconv.Atoi(e[pwGID])
	newUID, _ := strconv.Atoi(uid)
	newGID, _ := strconv.Atoi(gid)
	if i, err := f.Lstat("."); err != nil || i.UID != oldUID && i.UID != newUID {
		return err // the home isn't the user's: "/", or a shared folder
	}
	return f.Chown(func(i host.Info) (int, int) {
		if i.UID == oldUID {
			i.UID = newUID
		}
		if i.GID == oldGID {
			i.GID = newGID
		}
		return i.UID, i.GID
	})
}

func moveHome(ctx context.Context, h *host.Host, from, to string) error {
	if !isFolder(h, from) {
		return nil // moved already, or there never was one
	}
	if h.Exists(to) {
		return hint.New(fmt.Errorf("move the home %s: %s is there already", from, to), "remove one of them, or leave moveHome out")
	}
	if err := mkdirAll(h, path.Dir(path.Clean(to))); err != nil {
		return err
	}
	err := h.Rename(path.Clean(from), path.Clean(to))
	if err == nil || !h.Living() || !strings.Contains(err.Error(), "cross-device") {
		return err
	}
	tmp := path.Join(path.Dir(path.Clean(to)), host.TempPrefix+"home-"+path.Base(to))
	if err := h.RemoveAll(tmp); err != nil {
		return err
	}
	if _, err := h.Must(ctx, host.Cmd{Args: []string{"cp", "-a", "--", path.Clean(from), tmp}}); err != nil {
		return err
	}
	if err := h.Rename(tmp, path.Clean(to)); err != nil {
		return err
	}
	return h.RemoveAll(path.Clean(from))
}

// removeHome removes the home and the mailbox, but only what is the user's alone.
func (db *databases) removeHome(e []string) error {
	h, home := db.h, path.Clean(e[pwHome])
	uid, _ := strconv.Atoi(e[pwUID])
	if path.IsAbs(home) && h.Exists(home) {
		if err := db.mayRemove(e, home, uid); err != nil {
			return err
		}
		if err := h.RemoveAll(home); err != nil {
			return err
		}
	}
	mail := db.mailbox(e[0])
	if i, err := h.Lstat(mail); err == nil && i.Kind == host.KindFile {
		return h.Remove(mail)
	}
	return nil
}

func (db *databases) mayRemove(e []string, home string, uid int) error {
	refuse := func(format string, args ...any) error {
		return hint.New(fmt.Errorf("the home %s of %s is not removed: %s", home, e[0], fmt.Sprintf(format, args...)), "remove the user without removeHome, and the folder by hand")
	}
	for _, other := range db.passwd.entries() {
		if at := path.Clean(other[pwHome]); other[0] != e[0] && (at == home || strings.HasPrefix(at, home+"/")) && db.h.Exists(at) {
			return refuse("%s has its home there", other[0])
		}
	}
	i, err := db.h.Lstat(home)
	switch {
	case err != nil:
		return err
	case strings.Count(home, "/") < 2 || i.Kind != host.KindDirectory:
		return refuse("it is no folder below another one")
	case db.h.Living() && i.UID != uid:
		return refuse("it belongs to %s", db.h.UserName(i.UID))
	}
	return nil
}

// idle fails where a user has processes: they would go on with a number that is nobody's, or soon somebody else's.
func idle(h *host.Host, name, uid string) error {
	if !h.Living() {
		return nil
	}
	entries, err := h.ReadDir("/proc")
	if err != nil {
		return err
	}
	var busy []string
	for _, pid := range entries {
		if strings.Trim(pid, "0123456789") != "" {
			continue
		}
		status, err := h.ReadFile("/proc/" + pid + "/status")
		if err != nil {
			continue // ended meanwhile
		}
		command, ours := "", false
		for l := range strings.Lines(string(status)) {
			f := strings.Fields(l)
			if len(f) < 2 {
				continue
			}
			switch f[0] {
			case "Name:":
				command = f[1]
			case "Uid:":
				ours = f[1] == uid || len(f) > 2 && f[2] == uid
			}
		}
		if ours {
			busy = append(busy, command+" "+pid)
		}
	}
	if len(busy) == 0 {
		return nil
	}
	some := strings.Join(busy[:min(len(busy), 3)], ", ")
	if len(busy) > 3 {
		some += ", ..."
	}
	return hint.New(fmt.Errorf("user %s is logged on or has processes (%d: %s)", name, len(busy), some), "end them first: loginctl terminate-user %s, or pkill -u %s", name, name)
}

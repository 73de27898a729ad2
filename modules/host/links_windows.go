package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf16"

	"golang.org/x/sys/windows"
)

// isJunction says whether a folder is a link to another one. Go tells only symbolic links from other reparse points.
func isJunction(p string, fi fs.FileInfo) bool {
	if fi.Mode()&fs.ModeIrregular == 0 {
		return false
	}
	target, err := os.Readlink(p)
	return err == nil && !strings.HasPrefix(target, `\\?\Volume{`) // there a volume is mounted
}

// makeLink makes a junction to what is a folder, and a symbolic link to anything else.
func makeLink(target, p string) error {
	at := target
	if !filepath.IsAbs(at) {
		at = filepath.Join(filepath.Dir(p), at)
	}
	if fi, err := os.Stat(at); err == nil && fi.IsDir() && !strings.HasPrefix(at, `\\`) {
		return makeJunction(at, p)
	}
	if err := os.Symlink(target, p); err != nil {
		if errors.Is(err, windows.ERROR_PRIVILEGE_NOT_HELD) {
			return fmt.Errorf("only administrators may make symbolic links: %w", err)
		}
		return err
	}
	if _, err := os.Lstat(p); err != nil {
		return errors.New("the system made no symbolic link, and no error")
	}
	return nil
}

// makeJunction makes a folder and a mount point of it: REPARSE_DATA_BUFFER,
// https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/ns-ntifs-_reparse_data_buffer
func makeJunction(target, p string) error {
	if err := os.Mkdir(p, 0o755); err != nil {
		return err
	}
	name, err := windows.UTF16PtrFromString(long(p))
	if err != nil {
		return err
	}
	h, err := windows.CreateFile(name, windows.GENERIC_WRITE, 0, nil, windows.OPEN_EXISTING, windows.FILE_FLAG_BACKUP_SEMANTICS|windows.FILE_FLAG_OPEN_REPARSE_POINT, 0)
	if err != nil {
		os.Remove(p)
		return err
	}
	defer windows.CloseHandle(h)
	b := mountPoint(filepath.Clean(target))
	var n uint32
	if err := windows.DeviceIoControl(h, windows.FSCTL_SET_REPARSE_POINT, &b[0], uint32(len(b)), nil, 0, &n, nil); err != nil {
		windows.CloseHandle(h)
		os.Remove(p)
		return fmt.Errorf("make a junction: %w", err)
	}
	return nil
}

func mountPoint(target string) []byte {
	real, shown := utf16.Encode([]rune(`\??\`+target)), utf16.Encode([]rune(target))
	le := binary.LittleEndian
	var data []byte
	data = le.AppendUint16(data, 0)
	data = le.AppendUint16(data, uint16(2*len(real)))
	data = le.AppendUint16(data, uint16(2*len(real)+2))
	data = le.AppendUint16(data, uint16(2*len(shown)))
	for _, text := range [][]uint16{real, shown} {
		for _, u := range append(text, 0) {
			data = le.AppendUint16(data, u)
		}
	}
	b := le.AppendUint32(nil, windows.IO_REPARSE_TAG_MOUNT_POINT)
	b = le.AppendUint16(b, uint16(len(data)))
	b = le.AppendUint16(b, 0)
	return append(b, data...)
}

// putLink gives a link its name. A folder, which a junction is, can't be replaced: the old one goes first.
func putLink(tmp, p string) error {
	if _, err := os.Lstat(p); err == nil {
		if err := os.Remove(p); err != nil {
			return err
		}
	}
	return os.Rename(tmp, p)
}

// mayFollow refuses a link, which on Windows any user can make where he may write, unless the system, administrators, this
// process or the owner of what it ends at has made it.
func (h *Host) mayFollow(link, end string, _ Info, _ int) error {
	if !h.Living() {
		return nil
	}
	by, err := ownerOf(link)
	if err != nil {
		return fmt.Errorf("%s: refusing to follow a link of an unknown owner: %w", link, err)
	}
	for _, known := range []windows.WELL_KNOWN_SID_TYPE{windows.WinLocalSystemSid, windows.WinBuiltinAdministratorsSid} {
		if sid, err := windows.CreateWellKnownSid(known); err == nil && by.Equals(sid) {
			return nil
		}
	}
	if by.String() == trustedInstaller {
		return nil
	}
	if user, err := windows.GetCurrentProcessToken().GetTokenUser(); err == nil && by.Equals(user.User.Sid) {
		return nil
	}
	if other, err := ownerOf(end); err == nil && by.Equals(other) {
		return nil
	}
	name := by.String()
	if account, domain, _, err := by.LookupAccount(""); err == nil {
		name = domain + `\` + account
	}
	return fmt.Errorf("%s: refusing to follow a link that %s made to something of another owner", link, name)
}

// trustedInstaller owns what Windows itself has installed, links included.
const trustedInstaller = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"

// ownerOf is who owns an entry, a link itself.
func ownerOf(p string) (*windows.SID, error) {
	name, err := windows.UTF16PtrFromString(long(p))
	if err != nil {
		return nil, err
	}
	h, err := windows.CreateFile(name, windows.READ_CONTROL, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE, nil, windows.OPEN_EXISTING,
		windows.FILE_FLAG_BACKUP_SEMANTICS|windows.FILE_FLAG_OPEN_REPARSE_POINT, 0)
	if err != nil {
		return nil, err
	}
	defer windows.CloseHandle(h)
	sd, err := windows.GetSecurityInfo(h, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION)
	if err != nil {
		return nil, err
	}
	sid, _, err := sd.Owner()
	return sid, err
}

// realPath follows links, junctions too, which filepath.EvalSymlinks leaves alone.
func realPath(name string) (string, error) {
	name = filepath.Clean(name)
	for range 64 {
		next, followed, err := followFirst(name)
		if err != nil || !followed {
			return next, err
		}
		name = next
	}
	return "", fmt.Errorf("resolve %s: too many links", name)
}

// followFirst replaces the first link on a path by what it leads to.
func followFirst(name string) (string, bool, error) {
	volume := filepath.VolumeName(name) + `\`
	rest := strings.Split(strings.TrimPrefix(name, volume), `\`)
	at := volume
	for i, part := range rest {
		at = filepath.Join(at, part)
		fi, err := os.Lstat(at)
		if err != nil {
			return name, false, nil // what is not there leads nowhere
		}
		if fi.Mode()&fs.ModeSymlink == 0 && !isJunction(at, fi) {
			continue
		}
		target, err := os.Readlink(at)
		if err != nil {
			return "", false, clean(err, "resolve", name)
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(at), target)
		}
		return filepath.Join(append([]string{target}, rest[i+1:]...)...), true, nil
	}
	return name, false, nil
}

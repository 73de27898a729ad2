package executor

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/fitout-dev/fitout/engine/executor/disk"
	"github.com/fitout-dev/fitout/modules/hint"
	"golang.org/x/sys/windows"
)

// The executor's folder on Windows is %ProgramFiles%\fitout, where nobody but administrators could have made it, or the
// user's own %LOCALAPPDATA%\fitout. That place is what keeps a foreign program from being started: one that isn't ours
// wouldn't look. What is checked at each start is that the place still is what it was: each part of the executor's path
// belongs to administrators, Windows or the user who starts it, none is a link, nobody else may replace one of them, and
// nobody else may write in the folders that are ours.
//
// Install gives the folder in %ProgramFiles% to administrators and the system alone, as journals and contents lie there.

const (
	// Who may do that to a folder may put another one in its place.
	mayReplace = windows.DELETE | windows.WRITE_DAC | windows.WRITE_OWNER | windows.GENERIC_ALL | fileDeleteChild
	mayWrite   = mayReplace | windows.GENERIC_WRITE | windows.FILE_WRITE_DATA | windows.FILE_APPEND_DATA | windows.FILE_WRITE_EA | windows.FILE_WRITE_ATTRIBUTES

	fileDeleteChild = 0x40
	inheritOnly     = 0x8
)

// trusted are the users who may own what is on the way to the executor: the user of this process among them.
func trusted() ([]*windows.SID, error) {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return nil, err
	}
	sids := []*windows.SID{user.User.Sid}
	for _, s := range []string{"S-1-5-18", "S-1-5-32-544", "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"} { // SYSTEM, Administrators, TrustedInstaller
		sid, err := windows.StringToSid(s)
		if err != nil {
			return nil, err
		}
		sids = append(sids, sid)
	}
	return sids, nil
}

// CheckPlace says whether this program may be run where it lies, for a folder dir of its own, and has the size that it should
// have: the reason why not. It lies in dir.
func CheckPlace(dir string, size int64) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	fi, err := os.Stat(exe)
	if err != nil {
		return err
	}
	if fi.Size() != size {
		return fmt.Errorf("it is not whole: %d bytes of %d", fi.Size(), size)
	}
	who, err := trusted()
	if err != nil {
		return err
	}
	var parts []string
	for p := exe; ; p = filepath.Dir(p) {
		parts = append(parts, p)
		if filepath.Dir(p) == p {
			break
		}
	}
	slices.Reverse(parts)
	for _, p := range parts {
		forbidden := windows.ACCESS_MASK(mayReplace)
		if p == dir || strings.HasPrefix(p, dir+`\`) {
			forbidden = mayWrite
		}
		if err := safe(p, who, forbidden); err != nil {
			return fmt.Errorf("a part of its path is not safe: %s: %w", p, err)
		}
	}
	return nil
}

// safe says whether a file or folder belongs to one of those, is no link, and gives nobody else rights that are forbidden.
func safe(path string, who []*windows.SID, forbidden windows.ACCESS_MASK) error {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return err
	}
	if attributes, err := windows.GetFileAttributes(name); err != nil {
		return err
	} else if attributes&windows.FILE_ATTRIBUTE_REPARSE_POINT != 0 {
		return errors.New("it is a link")
	}
	sd, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return err
	}
	isTrusted := func(sid *windows.SID) bool {
		return slices.ContainsFunc(who, func(w *windows.SID) bool { return windows.EqualSid(w, sid) })
	}
	owner, _, err := sd.Owner()
	if err != nil {
		return err
	}
	if owner == nil || !isTrusted(owner) {
		return fmt.Errorf("it belongs to %s", accountName(owner))
	}
	acl, _, err := sd.DACL()
	if err != nil || acl == nil {
		return errors.New("everybody may write to it")
	}
	for i := range uint32(acl.AceCount) {
		var ace *windows.ACCESS_ALLOWED_ACE
		if err := windows.GetAce(acl, i, &ace); err != nil {
			return err
		}
		if ace.Header.AceType != windows.ACCESS_ALLOWED_ACE_TYPE || ace.Header.AceFlags&inheritOnly != 0 {
			continue // what is denied takes nothing from safety, and conditional entries are for files of Windows' apps
		}
		sid := (*windows.SID)(unsafe.Pointer(&ace.SidStart))
		if ace.Mask&forbidden != 0 && !isTrusted(sid) {
			return fmt.Errorf("%s may change it", accountName(sid))
		}
	}
	return nil
}

func accountName(sid *windows.SID) string {
	if sid == nil {
		return "nobody"
	}
	if name, domain, _, err := sid.LookupAccount(""); err == nil {
		return strings.TrimPrefix(domain+`\`+name, `\`)
	}
	return sid.String()
}

// Install gives this program, which was just unpacked beside its place, that place: the folder of its hash under dir. It
// makes sure that it is what was sent.
func Install(dir, hash string) error {
	if !validHash(hash) {
		return fmt.Errorf("%q is no hash", hash)
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	if err := isWhole(exe, hash); err != nil {
		return err
	}
	if err := protect(dir); err != nil {
		return fmt.Errorf("give %s to administrators alone: %w", dir, err)
	}
	place := filepath.Join(dir, "bin", hash)
	if err := disk.MakeDir(disk.OS, place, 0o700); err != nil {
		return err
	}
	name := filepath.Join(place, filepath.Base(exe))
	// A running program can be renamed, but not replaced; and a virus scanner may be looking at either for a moment.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if err = disk.OS.Rename(exe, name); err == nil || time.Now().After(deadline) {
			break
		}
		if there := isWhole(name, hash); there == nil { // it is there, and at work
			return nil
		}
	}
	if err != nil {
		return hint.New(err, "what keeps it from being moved? A virus scanner, often: exclude %s", dir)
	}
	return nil
}

// isWhole makes sure that a file is what its hash says.
func isWhole(name, hash string) error {
	f, err := os.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != hash {
		return fmt.Errorf("it arrived damaged: its hash is %s", got)
	}
	return nil
}

// protect lets nobody but administrators and the system into our folder in %ProgramFiles%. A user's own has the user's rights.
func protect(dir string) error {
	programs, err := windows.KnownFolderPath(windows.FOLDERID_ProgramFiles, 0)
	if err != nil || !strings.EqualFold(filepath.Dir(dir), programs) {
		return err
	}
	sd, err := windows.SecurityDescriptorFromString("D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)")
	if err != nil {
		return err
	}
	acl, _, err := sd.DACL()
	if err != nil {
		return err
	}
	return windows.SetNamedSecurityInfo(dir, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, acl, nil)
}

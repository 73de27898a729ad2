package host

import (
	"errors"

	"golang.org/x/sys/windows"
)

// copyLabels gives a file that replaces another one its access control list and, where this process may, its owner. What
// both inherit from their folder is the same.
func copyLabels(from, to string) error {
	sd, err := windows.GetNamedSecurityInfo(long(from), windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
	if errors.Is(err, windows.ERROR_NOT_SUPPORTED) || errors.Is(err, windows.ERROR_INVALID_FUNCTION) {
		return nil // FAT has none
	}
	if err != nil {
		return err
	}
	if owner, _, err := sd.Owner(); err == nil && owner != nil {
		if mine, err := ownerOf(to); err != nil || !owner.Equals(mine) {
			restorePrivilege()
			_ = windows.SetNamedSecurityInfo(long(to), windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION, owner, nil, nil, nil)
		}
	}
	acl, _, err := sd.DACL()
	if errors.Is(err, windows.ERROR_OBJECT_NOT_FOUND) {
		return nil
	}
	if err != nil {
		return err
	}
	control, _, err := sd.Control()
	if err != nil {
		return err
	}
	what := windows.SECURITY_INFORMATION(windows.DACL_SECURITY_INFORMATION | windows.UNPROTECTED_DACL_SECURITY_INFORMATION)
	if control&windows.SE_DACL_PROTECTED != 0 {
		what = windows.DACL_SECURITY_INFORMATION | windows.PROTECTED_DACL_SECURITY_INFORMATION
	}
	return windows.SetNamedSecurityInfo(long(to), windows.SE_FILE_OBJECT, what, nil, nil, acl, nil)
}

// isLabelled: a file that is moved never gets what others in its new folder inherit.
func isLabelled(string) bool { return true }

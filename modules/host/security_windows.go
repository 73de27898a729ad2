package host

import (
	"errors"
	"fmt"
	"sync"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host/privilege"
	"github.com/fitout-dev/fitout/modules/host/sddl"
	"golang.org/x/sys/windows"
)

// Security is a file's or folder's owner and access control list, as package sddl reads them.
func (h *Host) Security(name string) (string, error) {
	p, err := h.path(name)
	if err != nil {
		return "", err
	}
	if !h.Living() {
		return "", ErrNeedsSystem
	}
	sd, err := windows.GetNamedSecurityInfo(long(p), windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return "", clean(noSecurity(err), "read the owner and access of", name)
	}
	return sd.String(), nil
}

// SetSecurity sets the owner, the access control list, or both, as far as text names them. What is below a folder gets what it
// inherits.
func (h *Host) SetSecurity(name, text string) error {
	p, err := h.path(name)
	if err != nil {
		return err
	}
	if !h.Living() {
		return ErrNeedsSystem
	}
	h.steps.before("set the owner and access of", name)
	return clean(setSecurity(p, text), "set the owner and access of", name)
}

func setSecurity(p, text string) error {
	if text == "" {
		return nil
	}
	sd, err := windows.SecurityDescriptorFromString(text)
	if err != nil {
		return fmt.Errorf("%s: %w", text, err)
	}
	control, _, err := sd.Control()
	if err != nil {
		return err
	}
	var what windows.SECURITY_INFORMATION
	owner, _, err := sd.Owner()
	if err == nil && owner != nil {
		what |= windows.OWNER_SECURITY_INFORMATION
		restorePrivilege()
	}
	acl, _, err := sd.DACL()
	switch {
	case errors.Is(err, windows.ERROR_OBJECT_NOT_FOUND):
	case err != nil:
		return err
	case control&windows.SE_DACL_PROTECTED != 0:
		what |= windows.DACL_SECURITY_INFORMATION | windows.PROTECTED_DACL_SECURITY_INFORMATION
	default:
		what |= windows.DACL_SECURITY_INFORMATION | windows.UNPROTECTED_DACL_SECURITY_INFORMATION
	}
	return noSecurity(windows.SetNamedSecurityInfo(long(p), windows.SE_FILE_OBJECT, what, owner, nil, acl, nil))
}

func noSecurity(err error) error {
	if errors.Is(err, windows.ERROR_NOT_SUPPORTED) || errors.Is(err, windows.ERROR_INVALID_FUNCTION) {
		return fmt.Errorf("its file system keeps none, as FAT doesn't: %w", err)
	}
	return err
}

// restorePrivilege lets this process make somebody else an owner. Where it may not, what needs it is refused.
var restorePrivilege = sync.OnceFunc(func() { _ = privilege.Enable("SeRestorePrivilege", "SeTakeOwnershipPrivilege") })

// SID is the one of an account, which goes by its name, DOMAIN\name or a SID; accounts that each Windows has, by their English
// names in every language.
func (h *Host) SID(account string) (string, error) {
	if is, err := sddl.IsSID(account); is {
		if err != nil {
			return "", err
		}
		sid, err := windows.StringToSid(account)
		if err != nil {
			return "", fmt.Errorf("%s: %w", account, err)
		}
		return sid.String(), nil
	}
	if sid := sddl.Known(account); sid != "" {
		return sid, nil
	}
	sid, _, _, err := windows.LookupSID("", account)
	if err != nil || sid == nil {
		return "", hint.New(fmt.Errorf("no account %q on this device", account),
			`correct the name, declare it under users or groups, write DOMAIN\name for one of a domain, or give its SID`)
	}
	return sid.String(), nil
}

// Account is the name of a SID, with its domain, or the SID itself where nobody has it. Of what stands for a SID in a text as
// package sddl reads it, too.
func (h *Host) Account(text string) (name, canonical string) {
	sid, err := windows.StringToSid(text)
	if err != nil {
		return text, text
	}
	canonical = sid.String()
	account, domain, _, err := sid.LookupAccount("")
	switch {
	case err != nil || account == "":
		return canonical, canonical
	case domain == "":
		return account, canonical
	}
	return domain + `\` + account, canonical
}

package privilege

import (
	"fmt"

	"golang.org/x/sys/windows"
)

// Enable turns privileges on for this process. That a login lacks one is no error here: what needs it is refused.
func Enable(names ...string) error {
	var token windows.Token
	if err := windows.OpenProcessToken(windows.CurrentProcess(), windows.TOKEN_ADJUST_PRIVILEGES|windows.TOKEN_QUERY, &token); err != nil {
		return err
	}
	defer token.Close()
	for _, name := range names {
		p := windows.Tokenprivileges{PrivilegeCount: 1}
		p.Privileges[0].Attributes = windows.SE_PRIVILEGE_ENABLED
		n, err := windows.UTF16PtrFromString(name)
		if err != nil {
			return err
		}
		if err := windows.LookupPrivilegeValue(nil, n, &p.Privileges[0].Luid); err != nil {
			return fmt.Errorf("right %s: %w", name, err)
		}
		if err := windows.AdjustTokenPrivileges(token, false, &p, 0, nil, nil); err != nil {
			return fmt.Errorf("right %s: %w", name, err)
		}
	}
	return nil
}

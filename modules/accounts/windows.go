package accounts

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
)

// What is decided about accounts of Windows, on any platform.

// maxAccountName is how long a user's name may be: https://learn.microsoft.com/windows/win32/api/lmaccess/ns-lmaccess-user_info_4
const maxAccountName = 20

// checkAccount finds what an account of Windows can't have.
func checkAccount(want User) error {
	if err := checkAccountName("user", want.Name, maxAccountName); err != nil {
		return err
	}
	for _, g := range want.Groups {
		if err := checkAccountName("group", g, 256); err != nil {
			return err
		}
	}
	if want.Password != nil && crypted(*want.Password) {
		return hint.New(errors.New("password: Windows takes no hash"), "give the password itself, from a secret")
	}
	return nil
}

func checkAccountName(kind, name string, most int) error {
	const forbidden = `"/\[]:;|=,+*?<>@`
	bad := name == "" || len([]rune(name)) > most || strings.ContainsAny(name, forbidden) || strings.Trim(name, ". ") == "" || strings.HasSuffix(name, ".") ||
		strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
	if bad {
		return hint.New(fmt.Errorf("%s name %q is not valid", kind, name), "at most %d characters, none of %s, and no dot at the end", most, forbidden)
	}
	return nil
}

// listed says whether a list has a name, in whatever letters.
func listed(list []string, name string) bool {
	return slices.ContainsFunc(list, func(g string) bool { return strings.EqualFold(g, name) })
}

// accountGroupsMet is groupsMet where letter case doesn't count.
func accountGroupsMet(want, have User) bool {
	for _, g := range want.Groups {
		if !listed(have.Groups, g) {
			return false
		}
	}
	return !want.GroupsExact || !slices.ContainsFunc(have.Groups, func(g string) bool { return !listed(want.Groups, g) })
}

// inverseOfAccount puts back what want had set. Windows tells no password, and an account that is made anew is another one.
func inverseOfAccount(want, have User) (User, error) {
	back := User{Name: have.Name, State: have.State}
	if want.State == modules.Absent {
		return back, fmt.Errorf("the password of %s, and what its SID has been given, would be lost", have.Name)
	}
	if want.Password != nil && (have.Password == nil || *have.Password != *want.Password) {
		return back, fmt.Errorf("the old password of %s is not known", have.Name)
	}
	if want.FullName != nil {
		back.FullName = have.FullName
	}
	if want.Locked != nil {
		back.Locked = have.Locked
	}
	if want.Expires != nil {
		back.Expires = have.Expires
	}
	if want.Groups != nil {
		back.Groups, back.GroupsExact = have.Groups, true
	}
	return back, nil
}

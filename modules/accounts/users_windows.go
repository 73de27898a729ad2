package accounts

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/netapi"
)

func observeAccount(h *host.Host, want User) (User, error) {
	if !h.Living() {
		return User{}, host.ErrNeedsSystem
	}
	u, err := netapi.FindUser(want.Name, want.Expires != nil)
	if err != nil || u == nil {
		return User{Name: want.Name, State: modules.Absent}, err
	}
	have := User{Name: want.Name, State: modules.Present, FullName: &u.FullName, Locked: &u.Disabled, SID: &u.SID}
	if want.Expires != nil {
		have.Expires = modules.Ptr(never)
		if u.Expires != netapi.Never {
			have.Expires = modules.Ptr(time.Unix(int64(u.Expires), 0).Format(dateForm))
		}
	}
	if want.Groups != nil {
		if have.Groups, err = accountGroups(want); err != nil {
			return have, err
		}
	}
	if want.Password != nil {
		ok, err := netapi.Logon(want.Name, *want.Password)
		if err != nil {
			return have, err
		}
		have.Password = modules.Ptr("")
		if ok {
			have.Password = want.Password
		}
	}
	return have, nil
}

// accountGroups are the local groups that a user is in, spelled as want spells them.
func accountGroups(want User) ([]string, error) {
	names, err := netapi.GroupsOf(want.Name)
	for _, g := range want.Groups {
		name, sidErr := netapi.GroupName(g)
		err = errors.Join(err, sidErr)
		if i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, name) }); i >= 0 {
			names[i] = g
		}
	}
	slices.Sort(names)
	return names, err
}

func applyAccount(h *host.Host, want, have User) error {
	if want.State == modules.Absent {
		h.Step("remove user", want.Name)
		return netapi.RemoveUser(want.Name)
	}
	if err := checkAccount(want); err != nil {
		return err
	}
	expires := netapi.Never
	if want.Expires != nil && *want.Expires != never {
		day, err := time.ParseInLocation(dateForm, *want.Expires, time.Local)
		if err != nil {
			return err
		}
		expires = uint32(day.Unix())
	}
	if have.State == modules.Absent {
		u := netapi.User{Expires: expires}
		if want.FullName != nil {
			u.FullName = *want.FullName
		}
		if want.Locked != nil {
			u.Disabled = *want.Locked
		}
		password := ""
		if want.Password != nil {
			password = *want.Password
		}
		h.Step("add user", want.Name)
		if err := netapi.AddUser(want.Name, password, u); err != nil {
			if want.Password == nil && hint.Of(err) != "" {
				return hint.New(err, "declare a password: without one the account has an empty one")
			}
			return err
		}
	} else if err := changeAccount(h, want, have, expires); err != nil {
		return err
	}
	return setAccountGroups(h, want)
}

func changeAccount(h *host.Host, want, have User, expires uint32) error {
	if want.FullName != nil && *want.FullName != *have.FullName {
		h.Step("name user", want.Name)
		if err := netapi.SetFullName(want.Name, *want.FullName); err != nil {
			return err
		}
	}
	if want.Password != nil && *want.Password != *have.Password {
		h.Step("set the password of user", want.Name)
		if err := netapi.SetPassword(want.Name, *want.Password); err != nil {
			return err
		}
	}
	if want.Locked != nil && *want.Locked != *have.Locked {
		h.Step("enable or disable user", want.Name)
		if err := netapi.SetDisabled(want.Name, *want.Locked); err != nil {
			return err
		}
	}
	if want.Expires != nil && *want.Expires != *have.Expires {
		h.Step("set the expiry of user", want.Name)
		return netapi.SetExpires(want.Name, expires)
	}
	return nil
}

func setAccountGroups(h *host.Host, want User) error {
	if want.Groups == nil {
		return nil
	}
	has, err := accountGroups(want)
	if err != nil {
		return err
	}
	for _, g := range want.Groups {
		if !listed(has, g) {
			h.Step("add user "+want.Name+" to", g)
			if err := netapi.AddMember(g, want.Name); err != nil {
				return err
			}
		}
	}
	for _, g := range has {
		if want.GroupsExact && !listed(want.Groups, g) {
			h.Step("take user "+want.Name+" out of", g)
			if err := netapi.RemoveMember(g, want.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

func observeAccountGroup(h *host.Host, want Group) (Group, error) {
	if !h.Living() {
		return Group{}, host.ErrNeedsSystem
	}
	have := Group{Name: want.Name, State: modules.Absent}
	there, err := netapi.HasGroup(want.Name)
	if there {
		have.State = modules.Present
	}
	return have, err
}

func applyAccountGroup(h *host.Host, want Group) error {
	if want.State == modules.Absent {
		h.Step("remove group", want.Name)
		return netapi.RemoveGroup(want.Name)
	}
	h.Step("add group", want.Name)
	return netapi.AddGroup(want.Name)
}

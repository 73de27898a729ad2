//go:build !windows

package accounts

import (
	"errors"

	"github.com/fitout-dev/fitout/modules/host"
)

func observeAccount(*host.Host, User) (User, error)        { return User{}, errors.ErrUnsupported }
func applyAccount(*host.Host, User, User) error            { return errors.ErrUnsupported }
func observeAccountGroup(*host.Host, Group) (Group, error) { return Group{}, errors.ErrUnsupported }
func applyAccountGroup(*host.Host, Group) error            { return errors.ErrUnsupported }

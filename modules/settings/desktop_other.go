//go:build !windows

package settings

import (
	"errors"

	"github.com/fitout-dev/fitout/modules/host"
)

func readShortcut(*host.Host, Shortcut) (Shortcut, error) {
	return Shortcut{}, errors.ErrUnsupported
}

func writeShortcut(*host.Host, Shortcut) error { return errors.ErrUnsupported }

func readTask(*host.Host, string) (text string, found bool, err error) {
	return "", false, errors.ErrUnsupported
}

func removeTask(*host.Host, string) error { return errors.ErrUnsupported }

func writeTask(*host.Host, string, string, *string) error { return errors.ErrUnsupported }

//go:build !windows

package settings

import (
	"errors"

	"github.com/fitout-dev/fitout/modules/host"
)

func readValues(*host.Host, RegistryValue) ([]KeptValue, error) { return nil, errors.ErrUnsupported }

func writeValues(*host.Host, RegistryValue) error { return errors.ErrUnsupported }

func readKeys(*host.Host, RegistryKey) ([]KeptKey, error) { return nil, errors.ErrUnsupported }

func writeKeys(*host.Host, RegistryKey) error { return errors.ErrUnsupported }

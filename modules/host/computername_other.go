//go:build !windows

package host

import "errors"

// ComputerName is for Windows: others have a hostname.
func (h *Host) ComputerName() (now, next string, err error) { return "", "", errors.ErrUnsupported }

// SetComputerName is for Windows.
func (h *Host) SetComputerName(string) error { return errors.ErrUnsupported }

// SystemFolder is for Windows, and "" elsewhere.
func (h *Host) SystemFolder() string { return "" }

//go:build !windows

package host

import "errors"

// Security, SetSecurity, SID and Account are about what Windows has instead of modes.
func (h *Host) Security(string) (string, error) { return "", errors.ErrUnsupported }

func (h *Host) SetSecurity(string, string) error { return errors.ErrUnsupported }

func (h *Host) SID(string) (string, error) { return "", errors.ErrUnsupported }

func (h *Host) Account(text string) (name, canonical string) { return text, text }

func setSecurity(string, string) error { return nil }

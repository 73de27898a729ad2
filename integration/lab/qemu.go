package lab

import (
	"context"
	"errors"
)

func (m *Machine) qemuArgs(context.Context) ([]string, error)      { return nil, errors.ErrUnsupported }
func (m *Machine) makeQEMUDisk(context.Context) error              { return errors.ErrUnsupported }
func (m *Machine) execSSH(context.Context, string) (string, error) { return "", errors.ErrUnsupported }

//go:build !linux

package host

// LockHolder is known on Linux only: it is "" here.
func (h *Host) LockHolder(name string) (string, error) { return "", nil }

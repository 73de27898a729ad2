//go:build !windows

package host

// Pending is what the next start makes of a file that is in use: nothing, here.
func (h *Host) Pending(name string) (from string, planned bool) { return "", false }

package lab

// PIDs lists the machine's processes by their IDs on this host, lowest first.
func (m *Machine) PIDs() []int { return cgroupProcs(m.cgroups[0]) }

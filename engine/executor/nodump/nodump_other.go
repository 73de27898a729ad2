//go:build unix && !linux

package nodump

func undumpable() {}

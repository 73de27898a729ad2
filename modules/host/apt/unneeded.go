package apt

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/modules/host"
)

// Unneeded lists the packages that came because others needed them, which none does any more.
func Unneeded(ctx context.Context, h *host.Host) ([]string, error) {
	res, err := look(ctx, h, slices.Concat([]string{aptGet, "-s"}, options, []string{"autoremove"})...)
	if err != nil {
		return nil, err
	}
	if res.Code != 0 {
		return nil, diagnose(string(res.Stderr)).error("look for packages that nothing needs")
	}
	var names []string
	for _, s := range ParseSimulation(string(res.Stdout)).Remove {
		names = append(names, s.Name)
	}
	return names, nil
}

// Edited lists a package's configuration files that are other than the package brought them.
func Edited(h *host.Host, name string) ([]string, error) {
	b, err := h.ReadFile(statusFile)
	if err != nil {
		return nil, err
	}
	name, _, _ = strings.Cut(name, ":")
	_, entry, ok := bytes.Cut(append([]byte("\n"), b...), []byte("\nPackage: "+name+"\n"))
	if !ok {
		return nil, nil
	}
	entry, _, _ = bytes.Cut(entry, []byte("\n\n"))
	_, entry, _ = bytes.Cut(entry, []byte("\nConffiles:\n"))
	var edited []string
	for line := range strings.Lines(string(entry)) {
		f := strings.Fields(line)
		if !strings.HasPrefix(line, " ") || len(f) < 2 {
			break
		}
		content, err := h.ReadFile(f[0])
		if err != nil {
			continue // gone, or not there yet
		}
		if sum := md5.Sum(content); hex.EncodeToString(sum[:]) != f[1] {
			edited = append(edited, f[0])
		}
	}
	return edited, nil
}

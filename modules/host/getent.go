package host

import (
	"context"
	"strings"
	"time"
)

// Getent asks the name services of a living Linux device (LDAP, systemd, winbind, ...) for an entry of a database,
// "passwd" or "group", by its name or number. ok is false where none knows it, or where there is nobody to ask: in
// another root, without the program getent, or if nsswitch.conf names files alone.
func (h *Host) Getent(ctx context.Context, database, key string) (fields []string, ok bool) {
	if !h.Living() || h.OS() != "linux" || key == "" || strings.HasPrefix(key, "-") || !h.asksOthers(database) {
		return nil, false
	}
	fields, err := Memo(h, "getent "+database+" "+key, func() ([]string, error) {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second) // a directory server that is away answers late
		defer cancel()
		res, err := h.Run(ctx, Cmd{Args: []string{"getent", database, key}})
		if err != nil || res.Code != 0 {
			return nil, err
		}
		first, _, _ := strings.Cut(string(res.Stdout), "\n")
		return strings.Split(first, ":"), nil
	})
	return fields, err == nil && len(fields) >= 3
}

// asksOthers says whether nsswitch.conf names more than files for a database. Where it says nothing, files are all.
func (h *Host) asksOthers(database string) bool {
	conf, err := Memo(h, "/etc/nsswitch.conf", func() (string, error) {
		b, err := h.ReadFile("/etc/nsswitch.conf")
		return string(b), err
	})
	if err != nil {
		return false
	}
	for line := range strings.Lines(conf) {
		line, _, _ = strings.Cut(line, "#")
		name, services, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) != database {
			continue
		}
		for _, s := range strings.Fields(services) {
			if s != "files" && !strings.ContainsAny(s, "[]=") {
				return true
			}
		}
	}
	return false
}

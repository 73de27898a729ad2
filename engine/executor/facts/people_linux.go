package facts

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// loggedOn are the users of the sessions that logind knows, each once; the session that we came by doesn't count.
func (m machine) loggedOn() (users []string) {
	const sessions = "run/systemd/sessions"
	entries, _ := os.ReadDir(filepath.Join(m.root, sessions))
	ours := m.read("proc/self/cgroup")
	for _, e := range entries {
		s := assignments(m.read(sessions + "/" + e.Name()))
		user := s["USER"]
		if user == "" || s["CLASS"] != "user" || s["STATE"] == "closing" || slices.Contains(users, user) {
			continue
		}
		if s["SCOPE"] != "" && strings.Contains(ours, "/"+s["SCOPE"]) {
			continue
		}
		users = append(users, user)
	}
	slices.Sort(users)
	return users
}

// battery is the first of the machine's own that tells its charge.
func (m machine) battery() map[string]any {
	const supplies = "sys/class/power_supply"
	entries, _ := os.ReadDir(filepath.Join(m.root, supplies))
	var b map[string]any
	mains := false
	for _, e := range entries {
		read := func(name string) string { return m.read(supplies + "/" + e.Name() + "/" + name) }
		switch read("type") {
		case "Battery":
			if percent, err := strconv.Atoi(read("capacity")); err == nil && b == nil && read("scope") != "Device" {
				b = map[string]any{"percent": percent}
			}
		case "Mains", "USB":
			mains = mains || read("online") == "1"
		}
	}
	if b != nil {
		b["mains"] = mains
	}
	return b
}

// trust adds what a machine has to prove what it starts.
func (m machine) trust(f map[string]any) {
	switch m.read("sys/class/tpm/tpm0/tpm_version_major") {
	case "1":
		f["tpm"] = "1.2"
	case "2":
		f["tpm"] = "2.0"
	}
	const secureBoot = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c" // EFI_GLOBAL_VARIABLE
	if b, err := os.ReadFile(filepath.Join(m.root, secureBoot)); err == nil && len(b) == 5 {      // four bytes of attributes before it
		f["secureBoot"] = b[4] == 1
	}
}

package executor

import (
	"strings"

	"github.com/fitout-dev/fitout/modules/host"
)

var (
	rebootCommand = []string{"reboot"}
	warnCommand   = []string{"wall"}
)

// loggedOn says whether a person sits before a terminal or a screen of this machine, as logind knows it (systemd's
// sd_session files): our own session has neither.
func loggedOn(h *host.Host) bool {
	const dir = "/run/systemd/sessions"
	names, err := h.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, n := range names {
		b, err := h.ReadFile(dir + "/" + n)
		if err != nil {
			continue
		}
		values := map[string]string{}
		for line := range strings.Lines(string(b)) {
			k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
			values[k] = v
		}
		if values["CLASS"] == "user" && values["ACTIVE"] != "0" && (values["TTY"] != "" || values["SEAT"] != "" || values["DISPLAY"] != "") {
			return true
		}
	}
	return false
}

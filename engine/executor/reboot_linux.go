package executor

import (
	"context"
	"strings"

	"github.com/fitout-dev/fitout/modules/host"
)

var (
	rebootCommand = []string{"reboot"}
	warnCommand   = []string{"wall"}
)

// loggedOn says whether a person sits before a terminal or a screen of this machine, as logind knows it (systemd's
// sd_session files), or else who(1): our own session has neither.
func loggedOn(ctx context.Context, h *host.Host) bool {
	const dir = "/run/systemd/sessions"
	names, _ := h.ReadDir(dir)
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
	res, err := h.Must(ctx, host.Cmd{Args: []string{"who"}})
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(res.Stdout)) {
		if !strings.HasPrefix(line, "USER ") { // busybox's heading
			return true
		}
	}
	return false
}

package settings

import (
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/com"
)

func readTask(h *host.Host, path string) (text string, found bool, err error) {
	if !h.Living() {
		return "", false, host.ErrNeedsSystem
	}
	err = com.WithTasks(func(t com.Tasks) (err error) {
		text, found, err = t.Read(path)
		return err
	})
	return text, found, err
}

func removeTask(h *host.Host, path string) error {
	return com.WithTasks(func(t com.Tasks) error {
		h.Step("remove task", path)
		return t.Remove(path)
	})
}

// How a task logs on, as TASK_LOGON_TYPE.
const (
	logonPassword = 1
	logonToken    = 3
	logonService  = 5
)

func writeTask(h *host.Host, path, text string, password *string) error {
	e, err := parseDefinition(text)
	if err != nil {
		return err
	}
	user := e.need("Principals").need("Principal").text("UserId")
	logon := uint32(logonToken)
	switch {
	case serviceAccount(user) != "" || user == "":
		logon = logonService
	case password != nil:
		logon = logonPassword
	}
	return com.WithTasks(func(t com.Tasks) error {
		h.Step("register task", path)
		return t.Write(path, text, &user, password, logon)
	})
}

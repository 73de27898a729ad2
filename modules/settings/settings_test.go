package settings

import (
	"testing"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/moduletest"
)

func TestHostname(t *testing.T) {
	moduletest.Run(t, modules.Define("hostname", Hostnames{}), "testdata/hostname/*.txtar")
}

func TestTimezone(t *testing.T) {
	moduletest.Run(t, modules.Define("timezone", Timezones{}), "testdata/timezone/*.txtar")
}

func TestEnvironment(t *testing.T) {
	moduletest.Run(t, modules.Define("environment", Environments{}), "testdata/environment/*.txtar")
}

func TestHosts(t *testing.T) {
	moduletest.Run(t, modules.Define("hosts", Hosts{}), "testdata/hosts/*.txtar")
}

func TestTime(t *testing.T) {
	moduletest.Run(t, modules.Define("time", Times{}), "testdata/time/*.txtar")
}

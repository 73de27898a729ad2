package applications

import (
	"testing"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/moduletest"
)

func TestMain(m *testing.M) {
	moduletest.Main(m, modules.Define("packages", Packages{}), modules.Define("installers", Installers{}))
}

package files_test

import (
	"testing"

	"github.com/fitout-dev/fitout/modules/moduletest"
	"github.com/fitout-dev/fitout/modules/registry"
)

func TestFixtures(t *testing.T) {
	for _, name := range []string{"directories", "files", "lines", "links"} {
		t.Run(name, func(t *testing.T) { moduletest.Run(t, registry.Find(name), "testdata/"+name+"/*.txtar") })
	}
}

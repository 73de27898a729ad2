package updates

import (
	"testing"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/moduletest"
)

var typ = modules.Define("updates", Updates{})

func TestMain(m *testing.M) { moduletest.Main(m, typ) }

func TestUpdates(t *testing.T) { moduletest.Run(t, typ, "testdata/updates/*.txtar") }

func TestCheck(t *testing.T) {
	for after, ok := range map[string]bool{"": true, "24h": true, "1h30m": true, "90m": true, "1d": false, "soon": false, "0h": false, "-1h": false} {
		if err := (Updates{}).Check(Update{RefreshAfter: after}); (err == nil) != ok {
			t.Errorf("refreshAfter %q: %v", after, err)
		}
	}
}

func TestInverse(t *testing.T) {
	if _, err := (Updates{}).Inverse(Update{}, Update{}); err == nil {
		t.Error("updates can't be taken back, but an inverse was given")
	}
}

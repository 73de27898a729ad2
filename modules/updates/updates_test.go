package updates

import (
	"fmt"
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
	_, err := typ.Inverse(Update{}, Update{})
	if want := "updates that were installed are not taken back: that would bring back what they mended"; fmt.Sprint(err) != want {
		t.Errorf("%v", err)
	}
}

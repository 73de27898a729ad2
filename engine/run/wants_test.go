package run

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/engine/profile"
	"github.com/fitout-dev/fitout/engine/secret"
)

// TestAPasswordOfConnectStaysWithTheController: the device hands back what it was told when the new way is tried, and keeps
// it in its journal.
func TestAPasswordOfConnectStaysWithTheController(t *testing.T) {
	rs := []profile.Resource{{Address: "hostname"}, {Address: "files//a", Reboot: "never",
		Connect: map[string]any{"port": int64(2222), "password": secret.New("hunter2")}}}
	out, err := onWire(rs)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "hunter2") || !strings.Contains(string(b), `"password":true`) {
		t.Errorf("the device is told: %s", b)
	}
	if out[1].Connect["port"] != int64(2222) || out[1].Reboot != "never" || out[0].Connect != nil {
		t.Errorf("%s", b)
	}
	moves := (&worker{resources: rs}).moves()
	if got := moves["files//a"]; len(moves) != 1 || got["password"] != "hunter2" || got["port"] != int64(2222) {
		t.Errorf("the controller would reach it as %v", moves)
	}
}

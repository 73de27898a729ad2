package facts

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/fitout-dev/fitout/modules/host"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv("FITOUT_TEST_FACTS") != "" { // on a lab machine
		json.NewEncoder(os.Stdout).Encode(Gather(host.New("/")))
		return
	}
	goleak.VerifyTestMain(m)
}

// A table as DSP0134 lays it out: BIOS, system, and an end.
func smbiosTable(vendor, product, serial string) string {
	return "\x00\x18\x00\x00\x01\x02" + string(make([]byte, 18)) + "Phoenix\x006.00\x00\x00" +
		"\x01\x1b\x01\x00\x01\x02\x00\x03" + string(make([]byte, 19)) + vendor + "\x00" + product + "\x00" + serial + "\x00\x00" +
		"\x7f\x04\x02\x00\x00\x00"
}

func TestFirmware(t *testing.T) {
	for name, c := range map[string]struct {
		table string
		want  map[string]any
	}{
		"a laptop": {smbiosTable("LENOVO", "20XW", "PF3ABCDE"), map[string]any{"vendor": "LENOVO", "model": "20XW", "serial": "PF3ABCDE", "biosVersion": "6.00", "virtual": ""}},
		"Hyper-V":  {smbiosTable("Microsoft Corporation", "Virtual Machine", "0"), map[string]any{"vendor": "Microsoft Corporation", "model": "Virtual Machine", "biosVersion": "6.00", "virtual": "hyper-v"}},
		"empty":    {"", map[string]any{"virtual": ""}},
	} {
		got := map[string]any{}
		firmware(c.table).facts(got)
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	whole := smbiosTable("LENOVO", "20XW", "PF3ABCDE")
	for n := range len(whole) { // cut anywhere, it is read as far as it goes
		firmware(whole[:n]).facts(map[string]any{})
	}
}

// Whatever firmware holds, it is read to an end.
func FuzzFirmware(f *testing.F) {
	f.Add([]byte(smbiosTable("LENOVO", "20XW", "PF3ABCDE")))
	f.Add([]byte("\x01\x04\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) { firmware(b).facts(map[string]any{}) })
}

package plan

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/fitout-dev/fitout/modules/fuzzing"
	"github.com/fitout-dev/fitout/modules/hint"
)

// Whatever a plan file holds: it is refused in one line that names it, or read, and then it is the same plan when it is
// saved and read again; counted right; and shown without a character that moves the cursor about.
func FuzzPlanFile(f *testing.F) {
	file := filepath.Join(f.TempDir(), "plan.json")
	full := &Plan{Format: Format, Created: time.Unix(1e9, 0).UTC(), Inventory: "/site.yaml", Profile: "p", OneOff: []string{"local"}, Only: []string{"users"}, Skip: []string{"files"}, Devices: fleet()}
	if err := Save(file, full); err != nil {
		f.Fatal(err)
	}
	if p, err := Load(file); err != nil || !cmp.Equal(p.OneOff, full.OneOff) || !cmp.Equal(p.Only, full.Only) || !cmp.Equal(p.Skip, full.Skip) || p.Profile != full.Profile || p.Inventory != full.Inventory || !p.Created.Equal(full.Created) {
		f.Fatalf("%+v is read back as %+v: %v", full, p, err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte(`{"format":1,"devices":[{"name":"a\u001b[2J","error":"x\ny","hint":"\u009b","resources":[{"address":"x","op":"update","changes":[{"property":"content","before":{"size":1e300},"after":{"hash":"h","size":"x"}}],"diff":"+a\r\n-\u001b]0;x\n"}]}]}`))
	f.Add([]byte(`{"format":1,"created":"2026-01-02T03:04:05+23:59","devices":null}trailing`))
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{"format":1,"devices":[{"resources":[{"op":"nonsense","changes":[{"after":[[[{}]]]}]}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > fuzzing.Most {
			t.Skip()
		}
		file := filepath.Join(t.TempDir(), "plan.json")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		fuzzing.Soon(func() { checkPlan(t, file) })
	})
}

func checkPlan(t *testing.T, file string) {
	p, err := Load(file)
	if err != nil {
		if !strings.Contains(err.Error(), file) || strings.ContainsAny(err.Error(), "\n\x1b") || hint.Of(err) == "" {
			t.Fatalf("refused with %q, hint %q", err, hint.Of(err))
		}
		return
	}
	if err := Save(file, p); err != nil {
		t.Fatalf("read, and can't be saved: %v", err)
	}
	again, err := Load(file)
	if err != nil {
		t.Fatalf("read, saved, and can't be read: %v", err)
	}
	one, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	other, err := json.Marshal(again)
	if err != nil || !bytes.Equal(one, other) {
		t.Fatalf("saved it is another plan: %v\n%s", err, cmp.Diff(string(one), string(other)))
	}
	for _, d := range p.Devices {
		c := d.Count()
		if n := c.Create + c.Update + c.Delete + c.Same + c.Skip + c.Unknown + c.Errors; n > len(d.Resources) || c.Pending() > n {
			t.Fatalf("%d resources are counted as %+v", len(d.Resources), c)
		}
	}
	for _, s := range []Style{{}, {All: true}, {Width: 40, All: true}, {Width: 1}} {
		var out bytes.Buffer
		Render(&out, p.Devices, s)
		for i, r := range out.String() {
			if r != '\n' && r != '\t' && (r < ' ' || r >= 0x7f && r < 0xa0) {
				t.Fatalf("%+v: %q is shown: %q", s, r, out.String()[max(0, i-40):i+1])
			}
		}
		if !utf8.Valid(out.Bytes()) {
			t.Fatalf("%+v: what is shown is no UTF-8", s)
		}
	}
}

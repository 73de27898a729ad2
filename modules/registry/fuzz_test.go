package registry

import (
	"encoding/json"
	"testing"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/fuzzing"
	"github.com/google/go-cmp/cmp"
)

// Whatever a run document declares: it is refused, or written again it is the same declaration of the same resource, and a
// device that is as declared needs no change.
func FuzzDeclaration(f *testing.F) {
	for _, text := range []string{
		`{"name":"alice","fullName":"Alice","groups":["sales"],"uid":1000,"sshKeys":[]}`, `{"name":"lt-042"}`, `{"name":"Europe/Luxembourg"}`, `{"name":"net.ipv4.ip_forward","value":"0"}`,
		`{"name":"A","value":"","state":"absent"}`, `{"path":"/etc/motd","content":{"hash":"00","size":1},"mode":"0644"}`, `{"path":"/etc/hosts","line":"10.0.0.5 nas","match":"\\bnas$","id":"nas"}`,
		`{"path":"/a","target":"/b"}`, `{"name":"x","run":["/bin/true"],"creates":"/x"}`, `{"install":"security","reboot":"ifNeeded"}`, `{"name":"curl","version":"7.*","hold":true}`, `{"name":"ssh","enabled":true,"running":false}`,
		`{"NAME":"x","name":"y"}`, `null`, `{}`, `{"name":"x"}garbage`, `{"uid":1e400}`,
	} {
		for t := range Types {
			f.Add([]byte(text), uint8(t))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, which uint8) {
		if len(raw) > 64<<10 {
			t.Skip()
		}
		fuzzing.Soon(func() { checkDeclaration(t, Types[int(which)%len(Types)], raw) })
	})
}

func checkDeclaration(t *testing.T, typ *modules.Type, raw []byte) {
	v, err := typ.Decode(raw)
	if err != nil {
		return
	}
	written, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	again, err := typ.Decode(written)
	if err != nil {
		t.Fatalf("%s: %s is read, and written as %s isn't: %v", typ.Name, raw, written, err)
	}
	if d := cmp.Diff(v, again); d != "" || typ.KeyOf(v) != typ.KeyOf(again) {
		t.Fatalf("%s: %s, written as %s:\n%s", typ.Name, raw, written, d)
	}
	typ.Refs(v)
	typ.Paths(v)
	if typ.Check(v) != nil {
		return
	}
	if typ.Check(again) != nil {
		t.Fatalf("%s: %s is right and then wrong", typ.Name, written)
	}
	for _, living := range []bool{true, false} {
		if op, changes := typ.Diff(v, again, living); op != modules.Same && op != modules.Skip {
			t.Fatalf("%s: where it is as %s says, it needs %s: %v", typ.Name, written, op, changes)
		}
	}
}

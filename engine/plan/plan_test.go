package plan

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/engine/profile"
	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

func content(text string, isSecret bool) profile.Content {
	return profile.Content{Size: int64(len(text)), Secret: isSecret, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(text)), nil
	}}
}

// fleet is a plan with one of everything that can be shown.
func fleet() []Device {
	motd := host.Blob{Hash: "aa", Size: 12}
	hidden := host.Blob{Hash: "bb", Size: 9}
	image := host.Blob{Hash: "cc", Size: 4}
	blob := func(b host.Blob) map[string]any { return map[string]any{"hash": b.Hash, "size": float64(b.Size)} }
	old := "hello\nworld\n"
	pos := profile.Position{File: "site.yaml", Line: 3, Col: 5}
	rs := []profile.Resource{
		{Address: "hostname", Position: pos},
		{Address: "users/alice", Position: pos, Want: map[string]any{"password": secret.New("hunter2")}, Secret: []string{"password"}},
		{Address: "files//etc/motd", Position: pos, Want: map[string]any{"content": motd}, Notify: []string{"services/ssh"}},
		{Address: "files//etc/key", Position: pos, Want: map[string]any{"content": hidden}, Secret: []string{"content"}},
		{Address: "files//logo.png", Position: pos, Want: map[string]any{"content": image}},
		{Address: "services/ssh", Position: pos},
		{Address: "registry/x", Position: pos},
		{Address: "commands/first", Position: pos},
		{Address: "timezone", Position: pos},
		{Address: "packages/telnet", Position: pos},
	}
	blobs := map[string]profile.Content{"aa": content("hello\nthere\n", false), "bb": content("hunter2!\n", true), "cc": content("\x00\x01\x02\x03", false)}
	found := &wire.Observed{Reboot: "updated: linux-image", Observations: []wire.Observation{
		{Address: "hostname", Op: modules.Update, Changes: []modules.Change{{Property: "name", Before: "old", After: "new"}}, Notes: []string{"experimental on windows"}},
		{Address: "users/alice", Op: modules.Create, Changes: []modules.Change{{Property: "password", After: host.Marker}, {Property: "groups", After: []any{"sales"}}}},
		{Address: "files//etc/motd", Op: modules.Update, Text: &old, Changes: []modules.Change{{Property: "content", Before: blob(host.Blob{Hash: "dd", Size: 12}), After: blob(motd)}, {Property: "mode", Before: "0600", After: "0644"}}},
		{Address: "files//etc/key", Op: modules.Update, Changes: []modules.Change{{Property: "content", Before: host.Marker, After: host.Marker}}},
		{Address: "files//logo.png", Op: modules.Update, Binary: true, Changes: []modules.Change{{Property: "content", Before: blob(host.Blob{Hash: "ee", Size: 7}), After: blob(image)}}},
		{Address: "services/ssh", Op: modules.Same},
		{Address: "registry/x", Op: modules.Skip, Reason: "windows only"},
		{Address: "commands/first", Op: modules.Unknown, Reason: "after users/alice"},
		{Address: "timezone", Error: "no such zone", Hint: "install tzdata"},
		{Address: "packages/telnet", Op: modules.Delete, Changes: []modules.Change{{Property: "state", Before: "present", After: "absent"}}},
	}}
	one := Make("lt-1", "10.0.3.1", rs, blobs, found)
	two := Make("lt-2", "10.0.3.2", rs, blobs, found)
	return []Device{one, two, {Name: "lt-3", Address: "10.0.3.3", Error: "connection refused\nby 10.0.3.3", Hint: "is sshd running there?"}}
}

func TestRender(t *testing.T) {
	for name, s := range map[string]Style{"plain.txt": {}, "narrow.txt": {Width: 40}, "color.txt": {Color: true}, "all.txt": {All: true}} {
		var b bytes.Buffer
		Render(&b, fleet(), s)
		golden(t, name, b.String())
	}
}

// TestADeviceCantMoveTheCursor: what comes from a device is text, whatever it holds.
func TestADeviceCantMoveTheCursor(t *testing.T) {
	var b bytes.Buffer
	evil := "\x1b[2Jgone\r\x07\u009b31m"
	Render(&b, []Device{{Name: "d", Error: evil, Resources: []Resource{
		{Address: "users/x", Op: modules.Update, Changes: []modules.Change{{Property: "fullName", Before: evil, After: "x"}}, Diff: evil},
		{Address: "users/y", Error: evil, Hint: "h"}, {Address: "users/z", Op: modules.Skip, Reason: evil}}}}, Style{})
	if strings.ContainsAny(b.String(), "\x1b\r\x07\u009b") {
		t.Errorf("control characters reach the terminal: %q", b.String())
	}
}

func TestAPlanFileHoldsNoSecretAndComesBack(t *testing.T) {
	file := filepath.Join(t.TempDir(), "plan.json")
	p := &Plan{Format: Format, Devices: fleet()}
	if err := Save(file, p); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "hunter2") || strings.Contains(string(b), `"bb"`) {
		t.Error("a secret, or the hash of one, is in the plan file")
	}
	back, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if back.Devices[0].Count() != p.Devices[0].Count() {
		t.Errorf("%+v came back as %+v", p.Devices[0].Count(), back.Devices[0].Count())
	}
	for i, cut := range []string{"", "{", "[]", `{"format":99}`, string(b[:len(b)/2])} {
		if err := os.WriteFile(file, []byte(cut), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(file); err == nil {
			t.Errorf("damaged plan %d was accepted", i)
		}
	}
}

// TestShape: a plan made of another declaration has another shape; another secret doesn't change it.
func TestShape(t *testing.T) {
	of := func(want map[string]any) string {
		return Shape(profile.Resource{Address: "files//x", Want: want, Secret: []string{"content"}})
	}
	a := of(map[string]any{"content": host.Blob{Hash: "1", Size: 2}, "mode": "0644", "token": secret.New("a")})
	if b := of(map[string]any{"content": host.Blob{Hash: "9", Size: 3}, "mode": "0644", "token": secret.New("b")}); a != b {
		t.Error("the shape depends on a secret")
	}
	if b := of(map[string]any{"content": host.Blob{Hash: "1", Size: 2}, "mode": "0600", "token": secret.New("a")}); a == b {
		t.Error("the shape doesn't depend on the mode")
	}
}

func TestALongDiffIsBounded(t *testing.T) {
	d := bounded(strings.Repeat("+line\n", maxDiffLines*3))
	if n := strings.Count(d, "\n"); n > maxDiffLines+1 || !strings.Contains(d, "more lines)") {
		t.Errorf("%d lines: …%s", n, d[len(d)-40:])
	}
}

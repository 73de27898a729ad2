package executor

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
)

const (
	password = `pass"w\ö<rd> 7'%`
	pemKey   = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----\n"
)

// leaked are pieces that give the secrets away, in whatever form.
func leaked(text string) []string {
	quoted := fmt.Sprintf("%q", password)
	js, _ := json.Marshal(password)
	var found []string
	for _, s := range []string{password, quoted[1 : len(quoted)-1], string(js[1 : len(js)-1]), "MIIEvQIBADANBgkq", "hkiG9w0BAQEFAASC",
		base64.StdEncoding.EncodeToString([]byte(password)), "pass%22w%5C%C3%B6%3Crd%3E", hashOf(password), hashOf(pemKey)} {
		if strings.Contains(text, s) {
			found = append(found, s)
		}
	}
	return found
}

func hashOf(s string) string {
	b, _ := host.BlobOf(strings.NewReader(s))
	return b.Hash
}

// What modules and tools say may hold a secret in many forms. None of it leaves the device or is kept on it.
func TestSecretsStayOut(t *testing.T) {
	d := newDevice(t)
	js, _ := json.Marshal(map[string]string{"password": password, "key": pemKey})
	said := fmt.Sprintf("raw %s quoted %q json %s base64 %s url http://u:%s@x key:\n  %s", password, password, js,
		base64.StdEncoding.EncodeToString([]byte(password)), "pass%22w%5C%C3%B6%3Crd%3E%207%27%25", strings.ReplaceAll(pemKey, "\n", "\n  "))
	everywhere := func(want probe) probe {
		want.Value = modules.Ptr("value " + said)
		want.Nested = &nested{Deep: []map[string]string{{"k " + password: said}}}
		want.List = []string{"a", said}
		want.Map = map[string]string{"m " + password: said}
		return want
	}
	behave(t, "holds", behaviour{observe: func(_ context.Context, h *host.Host, want probe) (probe, error) {
		h.Log().Info("looked "+said, "value", said, "error", errors.New(said))
		return everywhere(want), nil
	}})
	behave(t, "fails", behaviour{apply: func(_ context.Context, h *host.Host, want, have probe) (modules.Outcome, error) {
		h.Log().With("with", said).Warn(said)
		return modules.Outcome{Reboot: said}, errors.New(said)
	}})
	behave(t, "panics", behaviour{apply: func(context.Context, *host.Host, probe, probe) (modules.Outcome, error) { panic(said) }})
	behave(t, "unseen", behaviour{observe: func(context.Context, *host.Host, probe) (probe, error) { return probe{}, fmt.Errorf("%q", said) }})
	behave(t, "unproven", behaviour{apply: func(context.Context, *host.Host, probe, probe) (modules.Outcome, error) {
		return modules.Outcome{Unproven: said, Reboot: said}, nil
	}})
	secretBlob := `"content":{"hash":"` + hashOf(pemKey) + `","size":` + itoa(len(pemKey)) + `}`
	value, _ := json.Marshal(map[string]string{"value": password})
	secret := func(names ...string) func(*wire.Resource) { return func(r *wire.Resource) { r.Secret = names } }
	d.write(t, "etc/key", pemKey+"old")
	d.write(t, "etc/plain", "before\n"+said)
	_, plain := blob("after\n")
	rs := []wire.Resource{
		resource("files", "/etc/key", secretBlob+`,"mode":"0600"`, secret("content")),
		resource("files", "/etc/plain", plain),
		resource("probe", "mine", strings.Trim(string(value), "{}"), secret("value")),
		resource("probe", "holds", `"value":"other","list":["x"],"map":{"x":"y"},"nested":{"deep":null,"count":1}`),
		resource("probe", "fails", strings.Trim(string(value), "{}"), secret("value"), func(r *wire.Resource) { r.Retries = 1 }),
		resource("probe", "panics", ""), resource("probe", "unseen", ""), resource("probe", "unproven", "", notifies("probe/mine")),
		resource("probe", "decode", `"count":"`+"MIIEvQIBADANBgkq"+`"`),
	}
	secrets := []string{password, pemKey}
	c := connect(t, d)
	o := c.observe(secrets, rs...)
	if n := len(o.Missing); n != 2 {
		t.Fatalf("missing %v", o.Missing)
	}
	o.Missing = nil // the controller must be told which contents to send
	for _, text := range []string{pemKey, "after\n"} {
		b := wire.Blob{Hash: hashOf(text), Size: int64(len(text)), Secret: text == pemKey}
		if err := c.conn.SendBlob(b, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	run := wire.Document{ID: "r1", Resources: rs, Secrets: secrets}
	events := c.run(run)
	want := "files//etc/key changed, files//etc/plain changed, probe/mine changed, probe/holds failed, probe/fails failed, probe/panics failed, probe/unseen failed, probe/unproven changed, probe/decode failed"
	if got := resolved(events); got != want {
		t.Errorf("resolved %s\nwant     %s", got, want)
	}
	if d.read("etc/key") != pemKey || !strings.Contains(d.read("probe/mine"), "pass") {
		t.Error("the secrets did not arrive where they belong")
	}
	c.send(wire.Message{Run: &wire.Document{ID: "r2", Resources: rs, Secrets: secrets, Expect: map[string]string{"probe/holds": "other"}}})
	if f := c.failure(); f.Kind != wire.Drift || len(f.Drift) != 1 {
		t.Errorf("failed %+v", f)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	markers := 0
	for _, m := range c.said {
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var plain strings.Builder // as text, not as JSON
		fmt.Fprintf(&plain, "%+v", m)
		markers += strings.Count(string(b), host.Marker)
		if found := append(leaked(string(b)), leaked(plain.String())...); len(found) > 0 {
			t.Errorf("%q were said in %s", found, b)
		}
	}
	if markers < 30 {
		t.Errorf("only %d markers", markers)
	}
	if n := keptSecrets(t, d.dir); n > 0 {
		t.Errorf("secrets in %d files of the executor's folder", n)
	}
}

// keptSecrets counts the files below dir that hold a secret.
func keptSecrets(t *testing.T, dir string) int {
	t.Helper()
	n, files := 0, 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		if len(leaked(path+"\n"+string(b))) > 0 {
			t.Errorf("%s: %q", path, leaked(path+"\n"+string(b)))
			n++
		}
		return err
	})
	if err != nil || files == 0 {
		t.Fatalf("%d files, %v", files, err)
	}
	return n
}

// A change of a secret shows, but not what it was or will be.
func TestASecretIsReportedByAMarker(t *testing.T) {
	d := newDevice(t)
	d.write(t, "probe/p", `{"value":"hunter1"}`)
	d.write(t, "etc/key", "1234")
	c := connect(t, d)
	rs := []wire.Resource{
		resource("probe", "p", `"value":"hunter2"`, func(r *wire.Resource) { r.Secret = []string{"value"} }),
		resource("files", "/etc/key", `"content":{"hash":"`+hashOf("5678")+`","size":4}`, func(r *wire.Resource) { r.Secret = []string{"content"} }),
	}
	for _, o := range c.observe([]string{"hunter2", "5678"}, rs...).Observations {
		if o.Op != modules.Update || len(o.Changes) != 1 || o.Changes[0].Before != host.Marker || o.Changes[0].After != host.Marker || o.Text != nil {
			t.Errorf("observed %+v", o)
		}
		if b, _ := json.Marshal(o); strings.Contains(string(b), "hunter") || strings.Contains(string(b), hashOf("1234")) {
			t.Errorf("observed %s", b)
		}
	}
}

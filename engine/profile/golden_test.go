package profile

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
	"golang.org/x/tools/txtar"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/modules/hint"
)

var update = flag.Bool("update", false, "write what is found into testdata")

// site is a case's device.yaml: the device, and what else the technician has.
type site struct {
	Device struct {
		Name, Address, User string
		Groups              []string
		Variables           map[string]any
		Secret              []string // of the variables, those that hold one
	}
	Facts     map[string]any // none: no contact yet
	Secrets   map[string]string
	Env       map[string]string
	Inventory []string // names of variables that some device has
}

// TestGolden compiles each case of testdata and compares the resources, or the errors, with those in the file.
func TestGolden(t *testing.T) {
	cases, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatal("no cases", err)
	}
	for _, path := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			var s site
			var inputs []txtar.File
			var want string
			for _, f := range a.Files {
				switch f.Name {
				case "want":
					want = string(f.Data)
					continue
				case "device.yaml":
					if err := yaml.Unmarshal(f.Data, &s); err != nil {
						t.Fatal(err)
					}
				default:
					writeFile(t, filepath.Join(dir, f.Name), f.Data)
				}
				inputs = append(inputs, f)
			}
			got := strings.ReplaceAll(result(dir, s), dir+string(filepath.Separator), "")
			if *update {
				a.Files = append(inputs, txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func writeFile(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// result is what a case gives, as text.
func result(dir string, s site) string {
	env := func(name string) (string, bool) {
		if secret, ok := strings.CutPrefix(name, "FITOUT_SECRET_"); ok {
			text, ok := s.Secrets[strings.ToLower(secret)]
			return text, ok
		}
		text, ok := s.Env[name]
		return text, ok
	}
	l := &Loader{Env: env, Variables: s.Inventory}
	p, err := l.Load(filepath.Join(dir, "profile.yaml"))
	if err != nil {
		return failure("check", err)
	}
	for _, name := range s.Device.Secret {
		s.Device.Variables[name] = secret.New(s.Device.Variables[name].(string))
	}
	c, err := p.Compile(Device{Name: s.Device.Name, Address: s.Device.Address, User: s.Device.User, Groups: s.Device.Groups,
		Variables: s.Device.Variables, Facts: s.Facts})
	if err != nil {
		return failure("compile", err)
	}
	var out bytes.Buffer
	for _, r := range c.Resources {
		shown := map[string]any{"want": r.Want}
		for name, x := range map[string][]string{"after": r.After, "notify": r.Notify, "secret": r.Secret} {
			if len(x) > 0 {
				shown[name] = x
			}
		}
		if r.Skip != "" {
			shown["skip"] = r.Skip
		}
		if r.Timeout != 0 || r.Retries != 0 {
			shown["timeout"], shown["retries"] = r.Timeout.String(), r.Retries
		}
		if r.Reboot != "" {
			shown["reboot"] = r.Reboot
		}
		if r.Connect != nil {
			shown["connect"] = r.Connect
		}
		b, err := json.Marshal(shown)
		if err != nil {
			return err.Error()
		}
		out.WriteString(r.Address + " " + string(b) + "\n")
	}
	if c.Settings != (wire.Settings{}) {
		b, err := json.Marshal(c.Settings)
		if err != nil {
			return err.Error()
		}
		out.WriteString("run " + string(b) + "\n")
	}
	for _, hash := range names(c.Blobs) {
		f, err := c.Blobs[hash].Open()
		if err != nil {
			return err.Error()
		}
		text, err := io.ReadAll(f)
		if err != nil {
			return err.Error()
		}
		if c.Blobs[hash].Secret {
			text = []byte("(secret)")
		}
		b, _ := json.Marshal(string(text))
		out.WriteString("blob " + hash[:8] + " " + string(b) + "\n")
		out = *bytes.NewBuffer(bytes.ReplaceAll(out.Bytes(), []byte(`"hash":"`+hash+`"`), []byte(`"hash":"`+hash[:8]+`"`)))
	}
	if len(c.Secrets) > 0 {
		out.WriteString("secrets " + strings.Join(c.Secrets, " ") + "\n")
	}
	return out.String()
}

func failure(at string, err error) string {
	text := hint.Text(err)
	if strings.Contains(err.Error(), "\nhint: ") || strings.Contains(err.Error(), "\n") { // each has its own hint
		text = err.Error()
	}
	return at + " failed\n" + text + "\n"
}

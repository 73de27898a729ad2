//go:build unix

package winrm

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/fitout-dev/fitout/engine/profile"
	"github.com/fitout-dev/fitout/engine/run"
	"github.com/fitout-dev/fitout/engine/transport"
	labwinrm "github.com/fitout-dev/fitout/integration/lab/winrm"
)

// A converged device costs few requests, however many resources there are: it is their number that a slow line makes felt.
func TestNoOpCostsFewRequests(t *testing.T) {
	file := filepath.Join(t.TempDir(), "site.yaml")
	writeFile(t, file, `profile: site
directories: [{path: /srv/data}]
files:
  - {path: /etc/motd, content: "hello\n"}
  - {path: "/srv/data/${item}", content: "${item}", forEach: [a, b, c, d, e, f, g, h]}
lines: [{path: /etc/environment, line: "A=1"}]
`)
	root := t.TempDir()
	for path, text := range map[string]string{"os-release": "ID=debian\n", "passwd": "root:x:0:0:root:/root:/bin/sh\n", "group": "root:x:0:\n"} {
		writeFile(t, filepath.Join(root, "etc", path), text)
	}
	for _, test := range []struct {
		name    string
		options func(*testing.T) Options
		most    int64
	}{
		{"basic over https", func(t *testing.T) Options { return newServer(t).options() }, 9},                                    // 6, as a rule
		{"sealed ntlm", func(t *testing.T) Options { return labOptions(t, labServer(t, labwinrm.Config{}), byNTLM, false) }, 13}, // and two logins
	} {
		t.Run(test.name, func(t *testing.T) {
			o := test.options(t)
			var c *Conn
			d := run.Device{Name: "lt-043", Target: run.Target{Root: root, Dir: filepath.Join(t.TempDir(), "fitout")},
				Compile: func(facts map[string]any) (*profile.Compiled, error) {
					p, err := (&profile.Loader{}).Load(file)
					if err != nil {
						return nil, err
					}
					return p.Compile(profile.Device{Name: "lt-043", Facts: facts})
				},
				Dial: func(ctx context.Context) (transport.Transport, error) {
					var err error
					c, err = Dial(ctx, o)
					return c, err
				},
			}
			if res := new(run.Runner).Apply(t.Context(), []run.Device{d}, nil)[0]; res.Err != nil || res.Status != run.Changed && res.Status != run.Converged {
				t.Fatalf("apply: %s %v", res.Status, res.Err)
			}
			res := new(run.Runner).Plan(t.Context(), []run.Device{d})[0]
			if res.Status != run.Converged || res.Err != nil {
				t.Fatalf("plan: %s %v", res.Status, res.Err)
			}
			if n := c.Requests.Load(); n > test.most {
				t.Errorf("%d requests, want at most %d", n, test.most)
			} else {
				t.Logf("plan of a converged device: %d requests", n)
			}
			if _, err := os.Stat(filepath.Join(root, "srv/data/h")); err != nil {
				t.Error(err)
			}
		})
	}
}

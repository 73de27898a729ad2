package apt

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/fitout-dev/fitout/modules/hint"
)

var update = flag.Bool("update", false, "write the golden parts of fixtures")

// golden runs f on the recorded output in each file, and compares with what the file says of it.
func golden(t *testing.T, pattern string, f func(out string) string) {
	files, _ := filepath.Glob(pattern)
	if len(files) == 0 {
		t.Fatalf("no files match %s", pattern)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.TrimRight(f(string(a.Files[0].Data)), "\n") + "\n"
			if *update {
				a.Files = append(a.Files[:1], txtar.File{Name: "means", Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if len(a.Files) != 2 {
				t.Fatalf("%d sections; run with -update", len(a.Files))
			}
			if d := cmp.Diff(string(a.Files[1].Data), got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func lines(v any) string {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestDiagnose(t *testing.T) {
	names := map[cause]string{unknown: "unknown", locked: "locked", interrupted: "interrupted", outdated: "outdated", missing: "missing", unmet: "unmet",
		noSpace: "no space", noNetwork: "no network", untrusted: "untrusted", wrecked: "wrecked"}
	golden(t, "testdata/diagnose/*.txtar", func(out string) string {
		d := diagnose(out)
		return names[d.cause] + "\n" + hint.Text(d.error("apt-get")) + "\nfailed: " + lines(d.failed)
	})
}

func TestParseSimulation(t *testing.T) {
	for _, file := range []string{"testdata/simulation.txtar", "testdata/upgrade.txtar"} {
		golden(t, file, func(out string) string {
			s := ParseSimulation(out)
			var security []string
			for _, step := range s.Install {
				if step.Security() {
					security = append(security, step.Name)
				}
			}
			return lines(s) + "\nsecurity: " + strings.Join(security, " ")
		})
	}
}

func TestParsePolicy(t *testing.T) {
	golden(t, "testdata/policy.txtar", func(out string) string { return lines(ParsePolicy(out)) })
}

func TestSecurity(t *testing.T) {
	for origins, want := range map[string]bool{
		"Debian-Security:12/oldstable-security":                   true,
		"Debian:12.15/oldstable":                                  false,
		"Ubuntu:22.04/jammy-updates, Ubuntu:22.04/jammy-security": true,
		"Ubuntu:22.04/jammy-updates":                              false,
		"UbuntuESM:22.04/jammy-infra-security":                    true,
		"Debian Security Tools:1/stable":                          false,
		"":                                                        false,
	} {
		if got := (Step{Origins: origins}).Security(); got != want {
			t.Errorf("%q: %v", origins, got)
		}
	}
}

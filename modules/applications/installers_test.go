package applications

import (
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

var _ modules.Resource[Installer] = Installers{}

func TestInstallersCheck(t *testing.T) {
	blob := &host.Blob{Hash: strings.Repeat("0", 64), Size: 1}
	for want, i := range map[string]Installer{
		"":                                 {Source: blob, ProductCode: "11111111-1111-1111-1111-111111111111", Version: modules.Ptr(">=2.0")},
		"source: missing":                  {},
		"only one of them":                 {Source: blob, Path: `C:\x.msi`},
		"hash: missing":                    {URL: "https://example.com/x.msi"},
		"a source is always verified":      {Source: blob, Hash: blob.Hash},
		`path: "x.msi" is no absolute`:     {Path: "x.msi"},
		`file: "%X%\\a.exe" is no`:         {Source: blob, File: `%X%\a.exe`},
		"has one brace of two":             {Source: blob, ProductCode: "{11111111-1111-1111-1111-111111111111"},
		`"{1111}" is no product code`:      {Source: blob, ProductCode: "{1111}"},
		`is no value below HKLM`:           {Source: blob, Registry: `HKCU\Software\Example\Version`},
		`"HKXM\\A\\B" begins with no hive`: {Source: blob, Registry: `HKXM\A\B`},
		`">=new" is no version`:            {Source: blob, Version: modules.Ptr(">=new")},
		`"" is no version`:                 {Source: blob, Version: modules.Ptr("")},
		"kind wix have no switch":          {Source: blob, Kind: "wix", Scope: "user"},
		"a line's end":                     {Source: blob, Arguments: []string{"a\nb"}},
	} {
		i.Name = "x"
		if err := (Installers{}).Check(i); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(hint.Text(err), want)) {
			t.Errorf("%+v: %v, want %q", i, err, want)
		}
	}
}

// What a version asks for.
func TestVersionMet(t *testing.T) {
	for _, c := range []struct {
		want, have string
		met, newer bool
	}{
		{"2.0", "2.0.0.0", true, false}, {"2.0", "2.0.1", false, true}, {"2.10", "2.9", false, false}, {">=2.9", "2.10", true, false},
		{">= 2.9", "2.8", false, false}, {"2.0b", "2.0b", true, false}, {"2.0", "2.0b", false, false},
	} {
		if met, newer := versionMet(c.want, c.have); met != c.met || newer != c.newer {
			t.Errorf("%s wanted, %s there: met %v, newer %v", c.want, c.have, met, newer)
		}
	}
}

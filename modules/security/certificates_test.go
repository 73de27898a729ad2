package security

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/moduletest"
)

func TestMain(m *testing.M) {
	moduletest.Main(m, modules.Define("certificates", Certificates{}))
}

// made makes a certificate with OpenSSL: as PEM, and with its key as the base64 of a PFX file.
func made(t *testing.T, name string) (text, pfx string) {
	t.Helper()
	dir := t.TempDir()
	openssl := func(args ...string) {
		t.Helper()
		c := exec.Command("openssl", args...)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("openssl: %v\n%s", err, out)
		}
	}
	openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "c.pem", "-days", "30", "-subj", "/CN="+name)
	openssl("pkcs12", "-export", "-inkey", "key.pem", "-in", "c.pem", "-out", "c.pfx", "-passout", "pass:opensesame")
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		lab.Must(t, err)
		return b
	}
	return string(read("c.pem")), base64.StdEncoding.EncodeToString(read("c.pfx"))
}

func TestCertificatesCheck(t *testing.T) {
	text, pfx := made(t, "Example CA")
	for want, c := range map[string]Certificate{
		"":                          {Store: "CA", Certificate: &text},
		"store: missing":            {Certificate: &text},
		"one of them says":          {Store: "CA"},
		"only what is removed":      {Store: "CA", Thumbprint: strings.Repeat("0", 40)},
		"is no SHA-1":               {Store: "CA", Thumbprint: "12", State: modules.Absent},
		"only a pfx has one":        {Store: "CA", Certificate: &text, Password: "x"},
		"neither PEM nor base64":    {Store: "CA", Certificate: modules.Ptr("C:\\ca.pem")},
		"it is damaged":             {Store: "CA", Certificate: modules.Ptr("MIIBAAAA")},
		"more than one certificate": {Store: "CA", Certificate: modules.Ptr(text + text)},
		"holds a private key":       {Store: "CA", Certificate: modules.Ptr("-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n")},
		"isn't the base64 of a PFX": {Store: "My", PFX: modules.Ptr("hello")},
	} {
		if err := (Certificates{}).Check(c); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(hint.Text(err), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := (Certificates{}).Check(Certificate{Store: "My", PFX: &pfx}); err != nil {
		t.Error(err)
	}
	if err := (Certificates{}).Check(Certificate{Store: "My", State: modules.Absent, Thumbprint: "\u200eA4 34 89 15 9a 52 0f 0d 93 d0 32 cc af 37 e7 fe 20 a8 b4 19"}); err != nil {
		t.Error(err)
	}
}

// The stores, asked back by reg.exe: they are keys, with a key for each certificate.
func TestCertificatesOnWindows(t *testing.T) {
	m := lab.New(t).Machine(t, lab.Wine)
	d := moduletest.OnMachine(t, m)
	text, pfx := made(t, "Example CA")
	declare := func(c Certificate) string {
		c.Name = "x"
		b, err := json.Marshal(c)
		lab.Must(t, err)
		return string(b)
	}
	const stores = `HKLM\SOFTWARE\Microsoft\SystemCertificates`
	for _, store := range []string{"CA", "My", "Example"} {
		t.Run(store, func(t *testing.T) {
			d := d.In(t)
			m.RunWindows(t, "reg", "add", stores+`\`+store+`\Certificates`, "/f") // a store that is made stays
			asked := `reg query ` + stores + `\` + store + `\Certificates /s`
			want := declare(Certificate{Store: store, Certificate: &text})
			d.TakesBack("certificates", want, asked)
			r := d.Converge("certificates", want)
			if r[0].Op != modules.Same {
				t.Errorf("a second time: %s %v %s", r[0].Op, r[0].Changes, r[0].Error)
			}
			found, _ := r[0].After["found"].(string)
			if out := m.RunWindows(t, "reg", "query", stores+`\`+store+`\Certificates`); !strings.Contains(strings.ToLower(out), found) {
				t.Errorf("%s is not among %s", found, out)
			}
			d.TakesBack("certificates", declare(Certificate{Store: store, Thumbprint: strings.ToUpper(found), State: modules.Absent}), asked)
			d.Interrupted("certificates", want, func() {
				_, _ = m.Windows(t.Context(), "reg", "delete", stores+`\`+store+`\Certificates\`+strings.ToUpper(found), "/f").Output()
			}, asked)
		})
	}
	t.Run("pfx", func(t *testing.T) {
		d := d.In(t)
		want := declare(Certificate{Store: "My", Location: "user", PFX: &pfx, Password: "opensesame"})
		r := d.Converge("certificates", want)
		// Wine forgets that there is a key where the certificate was there before, and whose it is: that part is experimental.
		if r[0].Error != "" || r[0].Op != modules.Create || r[0].After["state"] != "present" {
			t.Errorf("%s %v: %s", r[0].Op, r[0].After, r[0].Error)
		}
		if strings.Contains(fmt.Sprint(r[0].After), pfx) {
			t.Error("the private key is shown")
		}
		r = d.Converge("certificates", declare(Certificate{Store: "My", PFX: &pfx, Password: "wrong"}))
		if !strings.Contains(r[0].Error, "has another password") {
			t.Errorf("a wrong password: %s", r[0].Error)
		}
	})
}

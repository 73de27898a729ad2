package accounts

import (
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Hashes by libxcrypt 4.4.33 (Debian 12) of "correct horse ß".
var known = map[string]string{}

func TestHashesMeetTheirPassword(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip(err)
	}
	for _, m := range []string{yescryptMethod, sha512crypt, sha256crypt, bcryptMethod} {
		h, err := hashPassword("correct horse ß", m)
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("python3", "-W", "ignore", "-c", "import crypt,sys; print(crypt.crypt('correct horse ß', sys.argv[1]))", h).Output()
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(out)) != h {
			t.Errorf("%s: ours %s libxcrypt %s", m, h, out)
		}
		s := time.Now()
		if !matches("correct horse ß", h) || matches("x", h) {
			t.Error(m)
		}
		t.Log(m, h, time.Since(s)/2)
	}
	for _, set := range []string{"$1$abcdefgh", "$5$rounds=2000$saltsaltsaltsalt", "$6$ab", "$2a$05$abcdefghijklmnopqrstuu", "$2y$05$abcdefghijklmnopqrstuu", "$y$j9T$F5Jx5fExrKuPp53xLKQ..1", "$y$j75$abc.", "$7$CU..../....abc", "$gy$j9T$F5Jx5fExrKuPp53xLKQ..1", "ab", "$sha1$40000$jtNX3nZ2", "$md5,rounds=5000$ReCRHeOH$"} {
		out, err := exec.Command("python3", "-W", "ignore", "-c", "import crypt,sys; print(crypt.crypt('correct horse ß', sys.argv[1]))", set).Output()
		t.Log(set, strings.TrimSpace(string(out)), err, matches("correct horse ß", strings.TrimSpace(string(out))))
	}
}

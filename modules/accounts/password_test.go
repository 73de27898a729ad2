package accounts

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/modules/host"
)

const password = "correct horse ß"

// Made by crypt(3) of libxcrypt 4.4.33, as Debian 12 has it.
var hashes = map[string]bool{ // and whether we can check it
	"$1$abcdefgh$QMdYeI7s/oRSyKn31YiLL/":                                                           true,
	"$5$rounds=2000$saltsaltsaltsalt$zWMKAKJrTPa8xXYJRf3wWECNtkY//tf9m9a1O2lNA.7":                  true,
	"$6$ab$ITlCrkDCOt8DvVkFi5xsPkDJQoXFYSagFlTLYaVHVCcEn0DAzpxQFEx275RUKNzYQbCTYglGWvHuwv4L7uRkA.": true,
	"$2a$05$abcdefghijklmnopqrstuu9MnZXxGWvRrVOzKt/UnA4zNqQ0bGCBi":                                 true,
	"$2y$05$abcdefghijklmnopqrstuu9MnZXxGWvRrVOzKt/UnA4zNqQ0bGCBi":                                 true,
	"$y$j9T$F5Jx5fExrKuPp53xLKQ..1$UlSUJgO2I2Hvy1ofQDG.I5JGd0wtVGQJwW9fyNaKZc3":                    true,
	"$y$j75$abc.$DyTQHAdl9pcXDfJPad9ZuRL.QZBNjAJf4BcS/zf42L6":                                      true,
	"$7$CU..../....abc$EaGbaPzl.jZVrfDo9RQKLN5YkQPTaJXrX2qwyaeQWRA":                                false,
	"$gy$j9T$F5Jx5fExrKuPp53xLKQ..1$EqiurzxDitHDqhnPZpg561X4TrvbdkWBUfrxaBzWOc.":                   false,
	"$sha1$40000$jtNX3nZ2$GWneNc/llRXFS6xtCg8glCo8fSYS":                                            false,
	"$md5,rounds=5000$ReCRHeOH$$HgsWXrVtvOextFxtC3biq1":                                            false,
	"abhfCpXqd4GrI": false,
}

func TestHashesOfLibxcrypt(t *testing.T) {
	for h, known := range hashes {
		if got := matches(password, h); got != known {
			t.Errorf("%s: matches %v, want %v", h, got, known)
		}
		if matches("wrong", h) {
			t.Errorf("%s: matches a wrong password", h)
		}
		if got, want := crypted(h), strings.HasPrefix(h, "$"); got != want {
			t.Errorf("%s: crypted %v, want %v", h, got, want)
		}
	}
}

func TestBrokenHashesMatchNothing(t *testing.T) {
	for _, h := range []string{"", "*", "!", "!!", "x", "$", "$$", "$6", "$6$", "$6$rounds=$x", "$6$rounds=9$", "$y$", "$y$j9T$", "$y$j9T$!!$x", "$y$zzz$a$b",
		"$2b$", "$2b$99$abcdefghijklmnopqrstuu9MnZXxGWvRrVOzKt/UnA4zNqQ0bGCBi", "$2b$05$short", "$1$", "$nothing$a$b", "$6$ab$ITlC"} {
		if matches(password, h) || matches("", h) {
			t.Errorf("%q matches", h)
		}
	}
}

func TestNewHashesDifferAndMatch(t *testing.T) {
	for _, m := range []string{yescryptMethod, sha512crypt, sha256crypt, bcryptMethod} {
		a, err := hashPassword(password, m)
		if err != nil {
			t.Fatal(err)
		}
		b, err := hashPassword(password, m)
		if err != nil {
			t.Fatal(err)
		}
		if a == b || !matches(password, a) || !matches(password, b) || !crypted(a) || !strings.HasPrefix(a, "$"+m+"$") {
			t.Errorf("method %s: %s and %s", m, a, b)
		}
	}
}

func TestPlainTextIsNoHash(t *testing.T) {
	for _, s := range []string{"$ecret", "$6", "$1$", "$y$oung", "x", "** ", "!secret", "a$6$" + rand.Text()} {
		if crypted(s) {
			t.Errorf("%q is taken for a hash", s)
		}
	}
}

func TestCryptMethod(t *testing.T) {
	pam := "password requisite pam_pwquality.so sha256\npassword\t[success=1 default=ignore]\tpam_unix.so obscure use_authtok try_first_pass yescrypt\n"
	for _, c := range []struct{ name, pam, defs, want string }{
		{"pam wins", pam, "ENCRYPT_METHOD SHA512\n", yescryptMethod},
		{"login.defs", "# password x pam_unix.so yescrypt\n", "ENCRYPT_METHOD SHA256\n", sha256crypt},
		{"outdated", "", "ENCRYPT_METHOD MD5\n", sha512crypt},
		{"nothing", "", "", sha512crypt},
	} {
		h := host.New(t.TempDir())
		put(t, h, "/etc/pam.d/common-password", c.pam)
		put(t, h, "/etc/login.defs", c.defs)
		if got := load(h).cryptMethod(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

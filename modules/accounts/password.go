package accounts

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"

	"github.com/go-crypt/x/bcrypt"
	"github.com/go-crypt/x/crypt"
	"github.com/go-crypt/x/yescrypt"

	"github.com/fitout-dev/fitout/modules/hint"
)

// random is where salts come from; tests set it.
var random io.Reader = rand.Reader

const sha512crypt, sha256crypt, bcryptMethod, yescryptMethod = "6", "5", "2b", "y"

// crypted says whether s is a field of shadow(5) rather than a password in plain text: a hash of crypt(5), or "*" or
// "!", which nobody's password matches, or "", which needs none.
func crypted(s string) bool {
	if strings.TrimLeft(s, "!") == "" || s == "*" {
		return true
	}
	id, rest := method(s)
	switch id {
	case "1", "2", "2a", "2b", "2x", "2y", "3", "5", "6", "7", "y", "gy", "sha1", "md5":
		return len(rest) > 20
	}
	return false
}

// method splits a hash into the method's name and the rest: "$6$salt$hash" into "6" and "salt$hash".
func method(hash string) (id, rest string) {
	if !strings.HasPrefix(hash, "$") {
		return "", ""
	}
	end := strings.IndexAny(hash[1:], "$,") + 1
	if end == 0 {
		return "", ""
	}
	return hash[1:end], hash[end+1:]
}

// checkPassword refuses what can't be meant. It never repeats the value.
func checkPassword(s string) error {
	switch {
	case s == "":
		return hint.New(errors.New("the password is empty: anybody could log on"), "leave password out, or use \"*\" for an account without one")
	case strings.ContainsAny(s, "\n\r\x00"):
		return hint.New(errors.New("the password has a line break"), "store the secret without the newline at its end")
	case strings.HasPrefix(s, "!") && crypted(strings.TrimLeft(s, "!")) && s != "!" && s != "!!":
		return hint.New(errors.New("the password is a locked hash"), "take the \"!\" away, and declare locked: true")
	case crypted(s) && strings.ContainsAny(s, ": \t"):
		return errors.New("the password's hash holds a character that no hash has")
	case len(s) > 511:
		return errors.New("the password is longer than 511 bytes")
	}
	return nil
}

// What comparing a password with a hash may cost: some seconds. A hash that costs more counts as another password's.
const maxRounds, maxBcryptCost = 5_000_000, 15

// matches says whether a password in plain text belongs to a hash. Of an unknown method none does.
func matches(password, hashed string) bool {
	var again []byte
	p := []byte(password)
	id, rest := method(hashed)
	switch id {
	case "y":
		again, _ = yescrypt.Hash(p, []byte(hashed))
	case "6", "5":
		again = shaCrypt(id, rest, p)
	case "1":
		salt, _, _ := strings.Cut(rest, "$")
		again = fmt.Appendf(nil, "$1$%s$%s", salt, crypt.KeyMD5Crypt(p, []byte(cut(salt, 8))))
	case "2a", "2b", "2y":
		if cost, err := bcrypt.Cost([]byte(hashed)); err != nil || cost > maxBcryptCost {
			return false
		}
		return bcrypt.CompareHashAndPassword([]byte(hashed), p[:min(len(p), 72)]) == nil
	}
	return len(again) > 0 && subtle.ConstantTimeCompare(again, []byte(hashed)) == 1
}

// shaCrypt hashes with the salt and rounds of a setting: "salt$..." or "rounds=5000$salt$...".
func shaCrypt(id, setting string, password []byte) []byte {
	rounds, given := 5000, ""
	if after, ok := strings.CutPrefix(setting, "rounds="); ok {
		n, rest, ok := strings.Cut(after, "$")
		r, err := strconv.Atoi(n)
		if !ok || err != nil || r > maxRounds {
			return nil
		}
		rounds, setting = max(r, 1000), rest
		given = fmt.Sprintf("rounds=%d$", rounds)
	}
	salt, _, _ := strings.Cut(setting, "$")
	salt = cut(salt, 16)
	sum := func() hash.Hash { return sha512.New() }
	if id == sha256crypt {
		sum = func() hash.Hash { return sha256.New() }
	}
	return fmt.Appendf(nil, "$%s$%s%s$%s", id, given, salt, crypt.KeySHACrypt(sum, password, []byte(salt), rounds))
}

func cut(s string, n int) string { return s[:min(len(s), n)] }

// hashPassword hashes a password in plain text with a new salt.
func hashPassword(password, method string) (string, error) {
	salt := make([]byte, 16)
	if _, err := io.ReadFull(random, salt); err != nil {
		return "", fmt.Errorf("salt of a password: %w", err)
	}
	p := []byte(password)
	switch method {
	case yescryptMethod:
		h, err := yescrypt.Hash(p, append([]byte("$y$j9T$"), yescrypt.Encode64(salt)...)) // libxcrypt's default cost
		return string(h), err
	case bcryptMethod:
		if len(p) <= 72 { // it would ignore what follows
			h, err := bcrypt.GenerateFromPasswordSalt(p, salt, 10)
			return string(bytes.Replace(h, []byte("$2a$"), []byte("$2b$"), 1)), err
		}
	case sha256crypt:
		return string(shaCrypt(method, string(yescrypt.Encode64(salt)[:16])+"$", p)), nil
	}
	return string(shaCrypt(sha512crypt, string(yescrypt.Encode64(salt)[:16])+"$", p)), nil
}

// cryptMethod is how this device hashes passwords: as its PAM does, which is what passwd(1) uses, or as login.defs says.
func (db *databases) cryptMethod() string {
	named := map[string]string{"yescrypt": yescryptMethod, "gost_yescrypt": yescryptMethod, "sha512": sha512crypt, "sha256": sha256crypt, "blowfish": bcryptMethod, "bcrypt": bcryptMethod}
	for _, file := range []string{"/etc/pam.d/common-password", "/etc/pam.d/system-auth", "/etc/pam.d/passwd"} {
		b, err := db.h.ReadFile(file)
		if err != nil {
			continue
		}
		for l := range strings.Lines(string(b)) {
			f := strings.Fields(l)
			if len(f) < 3 || strings.TrimPrefix(f[0], "-") != "password" || !strings.Contains(l, "pam_unix.so") {
				continue
			}
			for _, option := range f {
				if m := named[option]; m != "" {
					return m
				}
			}
		}
	}
	if m := named[strings.ToLower(db.defs["ENCRYPT_METHOD"])]; m != "" {
		return m
	}
	return sha512crypt
}

package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"golang.org/x/crypto/ssh"

	"github.com/fitout-dev/fitout/modules/hint"
)

// IdentityVariable names the file of one's private key where it isn't at a usual place.
const IdentityVariable = "FITOUT_IDENTITY"

// Keys finds one's own private keys: the file that FITOUT_IDENTITY names, or else ~/.config/fitout/identity.txt,
// ~/.ssh/id_ed25519 and ~/.ssh/id_rsa. An encrypted SSH key is asked for its passphrase when it is needed.
type Keys struct {
	Home   string                                // "": the user's
	Env    func(string) (string, bool)           // nil: os.LookupEnv
	Prompt func(question string) (string, error) // nil: an encrypted key can't be used
	Tell   func(text string)                     // what the user should know; nil: nobody is told

	cache *[]age.Identity // decrypted keys are kept, so that a passphrase is asked for once
}

func (k *Keys) home() string {
	if k.Home != "" {
		return k.Home
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return home
}

// native is where the key of age is that fitout makes.
func (k *Keys) native() string { return filepath.Join(k.home(), ".config", "fitout", "identity.txt") }

// paths are where keys may be; given says that the user named the one.
func (k *Keys) paths() (paths []string, given bool) {
	lookup := k.Env
	if lookup == nil {
		lookup = os.LookupEnv
	}
	if p, ok := lookup(IdentityVariable); ok && p != "" {
		if rest, ok := strings.CutPrefix(p, "~/"); ok {
			p = filepath.Join(k.home(), rest)
		}
		return []string{p}, true
	}
	return []string{k.native(), filepath.Join(k.home(), ".ssh", "id_ed25519"), filepath.Join(k.home(), ".ssh", "id_rsa")}, false
}

// found lists the places where keys are.
func (k *Keys) found() []string {
	var found []string
	paths, _ := k.paths()
	for _, p := range paths {
		if _, err := os.Stat(p); err == nil {
			found = append(found, p)
		}
	}
	return found
}

func (k *Keys) identities() ([]age.Identity, error) {
	if k.cache != nil {
		return *k.cache, nil
	}
	var all []age.Identity
	paths, given := k.paths()
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if errors.Is(err, fs.ErrNotExist) && !given {
			continue
		}
		if err == nil {
			var ids []age.Identity
			if ids, err = k.parse(p, data); err == nil {
				all = append(all, ids...)
			}
		}
		if err != nil && given {
			return nil, fmt.Errorf("%s: %w", IdentityVariable, err)
		} else if err != nil && p == k.native() {
			return nil, err
		}
	}
	k.cache = &all
	return all, nil
}

// parse reads a private key, of age or of SSH.
func (k *Keys) parse(path string, data []byte) ([]age.Identity, error) {
	if !bytes.HasPrefix(data, []byte("-----BEGIN")) {
		ids, err := age.ParseIdentities(bytes.NewReader(data))
		if err != nil { // it might quote the key
			return nil, fmt.Errorf("%s is no private key of age or SSH", path)
		}
		return ids, nil
	}
	id, err := agessh.ParseIdentity(data)
	if missing, ok := errors.AsType[*ssh.PassphraseMissingError](err); ok {
		public := missing.PublicKey
		if public == nil {
			if public, err = publicKey(path + ".pub"); err != nil {
				return nil, fmt.Errorf("%s is encrypted in a form that hides its public key: %w", path, err)
			}
		}
		id, err = agessh.NewEncryptedSSHIdentity(public, data, func() ([]byte, error) {
			if k.Prompt == nil {
				return nil, hint.New(fmt.Errorf("%s needs its passphrase, and there is no terminal to ask on", path),
					"use a key of age: set %s to its file", IdentityVariable)
			}
			text, err := k.Prompt("Passphrase for " + path + ": ")
			return []byte(text), err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return []age.Identity{id}, nil
}

func publicKey(path string) (ssh.PublicKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(data)
	return key, err
}

// own is the public key to encrypt a new file for. Without any key, one is made.
func (k *Keys) own() (string, error) {
	paths, given := k.paths()
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			if given {
				return "", fmt.Errorf("%s: %w", IdentityVariable, err)
			}
			continue
		}
		if public, err := publicOf(p, data); err == nil {
			return public, nil
		} else if given || p == k.native() {
			return "", err
		}
	}
	return k.generate()
}

func publicOf(path string, data []byte) (string, error) {
	if bytes.HasPrefix(data, []byte("-----BEGIN")) {
		if key, err := publicKey(path + ".pub"); err == nil {
			return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))), nil
		}
		signer, err := ssh.ParsePrivateKey(data)
		if missing, ok := errors.AsType[*ssh.PassphraseMissingError](err); ok && missing.PublicKey != nil {
			return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(missing.PublicKey))), nil
		}
		if err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))), nil
	}
	ids, err := age.ParseIdentities(bytes.NewReader(data))
	if err != nil {
		return "", fmt.Errorf("%s is no private key of age or SSH", path)
	}
	for _, id := range ids {
		switch id := id.(type) {
		case *age.X25519Identity:
			return id.Recipient().String(), nil
		case *age.HybridIdentity:
			return id.Recipient().String(), nil
		}
	}
	return "", hint.New(fmt.Errorf("%s: its public key can't be told", path), "write it into the file of recipients")
}

// generate makes a key of age.
func (k *Keys) generate() (string, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", err
	}
	path := k.native()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	public := id.Recipient().String()
	_, err = fmt.Fprintf(f, "# created: %s\n# public key: %s\n%s\n", time.Now().Format(time.RFC3339), public, id)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", err
	}
	k.cache = nil
	if k.Tell != nil {
		k.Tell(fmt.Sprintf("made a key to read the secrets with: %s\nkeep a copy of it: without it the secrets are lost", path))
	}
	return public, nil
}

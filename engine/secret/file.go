package secret

// A file of secrets is a map of names to texts in YAML, encrypted by age (age-encryption.org), so that
// `age --decrypt -i IDENTITY secrets.age` shows it too. Whom it is encrypted for is in a file beside it, secrets.recipients,
// one key a line: age1... or ssh-ed25519 and ssh-rsa public keys. That file holds nothing secret, but who can change it
// decides who reads the secrets that are set afterwards.

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"go.yaml.in/yaml/v4"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/schema"
)

// File is an encrypted file of secrets. It is decrypted at the first secret that is asked for, and kept.
type File struct {
	Path string
	Keys Keys

	mu     sync.Mutex
	loaded bool
	texts  map[string]string
	err    error
}

var _ Source = (*File)(nil)

// Get returns a secret of the file.
func (f *File) Get(name string) (Value, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.load(); err != nil {
		return Value{}, err
	}
	text, ok := f.texts[name]
	if !ok {
		return Value{}, hint.New(fmt.Errorf("%w %q", ErrUnknown, name), "%s", f.remedy(name))
	}
	return New(text), nil
}

func (f *File) remedy(name string) string {
	if s := hint.Near(name, f.names()); s != "" {
		return fmt.Sprintf("did you mean %q?", s)
	}
	return fmt.Sprintf("`fitout secret set %s` puts it into %s", name, f.Path)
}

// missing is the path of a file of secrets that isn't there.
type missing string

func (m missing) Error() string { return "no file of secrets " + string(m) }

func (missing) Is(target error) bool { return target == fs.ErrNotExist }

// Names lists the secrets, or none where the file can't be read.
func (f *File) Names() []string {
	names, _ := f.List()
	return names
}

// List lists the secrets.
func (f *File) List() ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.load(); err != nil {
		return nil, err
	}
	return f.names(), nil
}

func (f *File) names() []string { return slices.Sorted(maps.Keys(f.texts)) }

func (f *File) load() error {
	if !f.loaded {
		f.loaded = true
		f.texts, f.err = f.read()
	}
	return f.err
}

// maxFile bounds what is decrypted.
const maxFile = 16 << 20

func (f *File) read() (map[string]string, error) {
	data, err := os.ReadFile(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hint.New(missing(f.Path), "`fitout secret set NAME` makes it")
	}
	if err != nil {
		return nil, err
	}
	identities, err := f.Keys.identities()
	if err != nil {
		return nil, err
	}
	if len(identities) == 0 {
		return nil, hint.New(fmt.Errorf("%s: no key to decrypt it with", f.Path),
			"put an age identity into %s, or set %s to its path", f.Keys.native(), IdentityVariable)
	}
	plain, err := decrypt(data, identities)
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return nil, hint.New(fmt.Errorf("%s: it is not encrypted for any of your keys (%s)", f.Path, strings.Join(f.Keys.found(), ", ")),
			"ask one who can read it to add your public key to %s and to set a secret", f.recipientsPath())
	}
	if err != nil {
		return nil, fmt.Errorf("decrypt %s: %w", f.Path, err)
	}
	texts, err := parse(plain)
	if err != nil { // no more about it: it would quote secrets
		return nil, fmt.Errorf("%s: what is encrypted is not a map of names to texts", f.Path)
	}
	return texts, nil
}

func decrypt(data []byte, identities []age.Identity) ([]byte, error) {
	var r io.Reader = bytes.NewReader(data)
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte(armor.Header)) {
		r = armor.NewReader(bufio.NewReader(bytes.NewReader(bytes.TrimSpace(data))))
	}
	r, err := age.Decrypt(r, identities...)
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err == nil && len(plain) > maxFile {
		err = errors.New("it is too large for a file of secrets")
	}
	return plain, err
}

func parse(plain []byte) (map[string]string, error) {
	texts := map[string]string{}
	if len(bytes.TrimSpace(plain)) == 0 {
		return texts, nil
	}
	d, err := schema.Read("secrets", plain)
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(d.Root.Content); i += 2 {
		v := d.Root.Content[i+1]
		if v.Kind != yaml.ScalarNode || v.Tag == "!!null" {
			return nil, errors.New("a secret is a text")
		}
		texts[d.Root.Content[i].Value] = v.Value
	}
	return texts, nil
}

// Valid says whether a secret may have this name: one that an expression can write as secrets.NAME.
var validName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Set keeps a secret, and makes the file, and a key where there is none, if it is the first one.
func (f *File) Set(name, text string) error {
	if !validName.MatchString(name) {
		return hint.New(fmt.Errorf("%q is no name for a secret", name), "use letters, digits and _, so that ${secrets.NAME} can be written")
	}
	return f.change(true, func(texts map[string]string) error {
		texts[name] = text
		return nil
	})
}

// Remove forgets a secret.
func (f *File) Remove(name string) error {
	return f.change(false, func(texts map[string]string) error {
		if _, ok := texts[name]; !ok {
			return hint.New(fmt.Errorf("%w %q", ErrUnknown, name), "%s", f.remedy(name))
		}
		delete(texts, name)
		return nil
	})
}

// AddRecipients lets more keys read the file: age1..., or an SSH public key.
func (f *File) AddRecipients(keys ...string) error {
	for _, k := range keys {
		if _, err := parseRecipient(k); err != nil {
			return err
		}
	}
	return f.changeFor(true, keys, func(map[string]string) error { return nil })
}

func (f *File) change(create bool, edit func(map[string]string) error) error {
	return f.changeFor(create, nil, edit)
}

// changeFor edits the file under a lock: what another process has set meanwhile is kept.
func (f *File) changeFor(create bool, more []string, edit func(map[string]string) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	unlock, err := lock(f.recipientsPath())
	if err != nil {
		return err
	}
	defer unlock()
	texts, err := f.read()
	if errors.Is(err, fs.ErrNotExist) && create {
		texts, err = map[string]string{}, nil
	}
	if err != nil {
		return err
	}
	f.texts, f.err, f.loaded = texts, nil, true
	if err := edit(texts); err != nil {
		return err
	}
	recipients, lines, err := f.recipients(more)
	if err != nil {
		return err
	}
	data, err := encrypt(texts, recipients)
	if err != nil {
		return err
	}
	identities, err := f.Keys.identities()
	if err != nil {
		return err
	}
	if _, err := decrypt(data, identities); err != nil {
		return hint.New(fmt.Errorf("you could not read %s afterwards: none of your keys is in %s", f.Path, f.recipientsPath()),
			"add your own public key there")
	}
	if err := replace(f.recipientsPath(), []byte(lines)); err != nil {
		return err
	}
	return replace(f.Path, data)
}

func (f *File) recipientsPath() string {
	return strings.TrimSuffix(f.Path, filepath.Ext(f.Path)) + ".recipients"
}

// recipients reads whom the file is for, with more keys; lines is what to keep. A new file is for oneself.
func (f *File) recipients(more []string) (rs []age.Recipient, lines string, err error) {
	data, err := os.ReadFile(f.recipientsPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, "", err
	}
	lines = string(data)
	for n, line := range strings.Split(lines, "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		r, err := parseRecipient(line)
		if err != nil {
			return nil, "", fmt.Errorf("%s:%d: %w", f.recipientsPath(), n+1, err)
		}
		rs = append(rs, r)
	}
	if len(rs) == 0 {
		if _, err := os.Stat(f.Path); err == nil { // others may read it
			return nil, "", hint.New(fmt.Errorf("nothing says whom %s is for", f.Path),
				"list their public keys in %s, one a line", f.recipientsPath())
		}
		own, err := f.Keys.own()
		if err != nil {
			return nil, "", err
		}
		more = append([]string{own}, more...)
		lines = "# Who can read the secrets: public keys of age or SSH, one a line. After a change, set a secret again.\n"
	}
	for _, k := range more {
		if strings.Contains(lines, strings.TrimSpace(k)) {
			continue
		}
		r, err := parseRecipient(k)
		if err != nil {
			return nil, "", err
		}
		rs = append(rs, r)
		if lines != "" && !strings.HasSuffix(lines, "\n") {
			lines += "\n"
		}
		lines += strings.TrimSpace(k) + "\n"
	}
	return rs, lines, nil
}

func parseRecipient(key string) (age.Recipient, error) {
	key = strings.TrimSpace(key)
	if strings.HasPrefix(key, "ssh-") {
		r, err := agessh.ParseRecipient(key)
		if err != nil {
			return nil, fmt.Errorf("SSH public key: %w", err)
		}
		return r, nil
	}
	rs, err := age.ParseRecipients(strings.NewReader(key))
	if err != nil || len(rs) != 1 {
		return nil, hint.New(errors.New("this is no public key of age or SSH"), "they begin with age1, ssh-ed25519 or ssh-rsa")
	}
	return rs[0], nil
}

func encrypt(texts map[string]string, recipients []age.Recipient) ([]byte, error) {
	root := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		root.Content = append(root.Content,
			&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name},
			&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: texts[name], Style: yaml.DoubleQuotedStyle})
	}
	plain, err := yaml.Marshal(root)
	if err != nil {
		return nil, err
	}
	if again, err := parse(plain); err != nil || !maps.Equal(again, texts) {
		return nil, hint.New(errors.New("it can't be kept: it isn't text in UTF-8, or too long"), "encode it first, with base64 for example")
	}
	var out bytes.Buffer
	a := armor.NewWriter(&out)
	w, err := age.Encrypt(a, recipients...)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := errors.Join(w.Close(), a.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// replace writes a file in one step, with the mode that it had.
func replace(path string, data []byte) (err error) {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return nil
	}
	mode := fs.FileMode(0o644) // nothing in it is readable
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

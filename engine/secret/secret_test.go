package secret

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
	"golang.org/x/crypto/ssh"

	"github.com/fitout-dev/fitout/modules/hint"
)

const text = "correct horse: \"battery\"\nstaple\t€ "

// TestValueNeverShows prints a secret in every way that comes to mind.
func TestValueNeverShows(t *testing.T) {
	v := New("hunter2")
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v, "in", struct{ V Value }{v})
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v, "in", struct{ V Value }{v})
	j, _ := json.Marshal(map[string]any{"v": v, "p": &v, "l": []Value{v}})
	y, _ := yaml.Marshal(map[string]any{"v": v})
	for _, s := range []string{log.String(), string(j), string(y), fmt.Sprint(v, &v, []Value{v}, struct{ v Value }{v}),
		fmt.Sprintf("%v %+v %#v %s %q %x %d %#v", v, v, v, v, v, v, v, struct{ V Value }{v}), errors.Join(fmt.Errorf("%v", v)).Error()} {
		if strings.Contains(s, "hunter2") || strings.Contains(s, fmt.Sprintf("%x", "hunter2")) {
			t.Error(s)
		}
	}
}

func home(t *testing.T) Keys {
	t.Helper()
	return Keys{Home: t.TempDir(), Env: func(string) (string, bool) { return "", false }}
}

// again is the file as another process sees it.
func again(f *File) *File { return &File{Path: f.Path, Keys: f.Keys} }

func TestSetListRemove(t *testing.T) {
	var told string
	keys := home(t)
	keys.Tell = func(text string) { told += text }
	f := &File{Path: filepath.Join(t.TempDir(), "secrets.age"), Keys: keys}
	if _, err := f.Get("a"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(hint.Of(err), "fitout secret set") {
		t.Error(err)
	}
	for _, name := range []string{"alice", "bob"} {
		if err := f.Set(name, text+name); err != nil {
			t.Fatal(err)
		}
	}
	identity := filepath.Join(keys.Home, ".config", "fitout", "identity.txt")
	if !strings.Contains(told, identity) || strings.Count(told, "made a key") != 1 {
		t.Errorf("told %q", told)
	}
	if info, err := os.Stat(identity); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	data, err := os.ReadFile(f.Path)
	if err != nil || strings.Contains(string(data), "alice") || strings.Contains(string(data), "horse") {
		t.Error("plain text in the file", err)
	}
	f = again(f)
	if diff := cmp.Diff([]string{"alice", "bob"}, f.Names()); diff != "" {
		t.Error(diff)
	}
	if v, err := f.Get("alice"); err != nil || v.Reveal() != text+"alice" {
		t.Errorf("%q %v", v.Reveal(), err)
	}
	if _, err := f.Get("alcie"); !errors.Is(err, ErrUnknown) || hint.Of(err) != `did you mean "alice"?` {
		t.Error(hint.Text(err))
	}
	if err := f.Remove("alice"); err != nil {
		t.Fatal(err)
	}
	if err := f.Remove("alice"); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	if err := f.Set("db-password", "x"); err == nil {
		t.Error("a name that no expression can write")
	}
	if diff := cmp.Diff([]string{"bob"}, again(f).Names()); diff != "" {
		t.Error(diff)
	}
	rest, err := filepath.Glob(filepath.Join(filepath.Dir(f.Path), ".*"))
	if err != nil || len(rest) > 0 {
		t.Error("left behind:", rest)
	}
}

// TestAtOnce: several processes that set secrets at once lose none.
func TestAtOnce(t *testing.T) {
	f := &File{Path: filepath.Join(t.TempDir(), "secrets.age"), Keys: home(t)}
	if err := f.Set("first", "x"); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 12 {
		other := again(f)
		group.Go(func() {
			if err := other.Set(fmt.Sprintf("s%d", i), "x"); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := len(again(f).Names()); n != 13 {
		t.Errorf("%d of 13 are there", n)
	}
}

// sshKey writes a key pair as ssh-keygen does.
func sshKey(t *testing.T, dir, passphrase string) (public string) {
	t.Helper()
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "id_ed25519"), pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// TestSSHKeys: a plain key is used without a word, an encrypted one asks once, and a colleague's key is let in.
func TestSSHKeys(t *testing.T) {
	asked := 0
	keys := home(t)
	keys.Prompt = func(string) (string, error) { asked++; return "open sesame", nil }
	sshKey(t, filepath.Join(keys.Home, ".ssh"), "open sesame")
	f := &File{Path: filepath.Join(t.TempDir(), "secrets.age"), Keys: keys}
	if err := f.Set("a", text); err != nil {
		t.Fatal(err)
	}
	if err := f.Set("b", text); err != nil || asked != 1 {
		t.Error("asked", asked, err)
	}
	colleague := &File{Path: f.Path, Keys: home(t)}
	public := sshKey(t, filepath.Join(colleague.Keys.Home, ".ssh"), "")
	if _, err := colleague.Get("a"); err == nil || !strings.Contains(err.Error(), "not encrypted for any of your keys") ||
		!strings.Contains(hint.Of(err), "secrets.recipients") {
		t.Error(err)
	}
	if err := f.AddRecipients(public); err != nil {
		t.Fatal(err)
	}
	colleague = again(colleague)
	if v, err := colleague.Get("a"); err != nil || v.Reveal() != text {
		t.Error(err)
	}
	silent := again(f)
	silent.Keys.Prompt, silent.Keys.cache = nil, nil
	if _, err := silent.Get("a"); err == nil || !strings.Contains(err.Error(), "no terminal") {
		t.Error(err)
	}
	if err := f.AddRecipients("ssh-ed25519 nonsense"); err == nil {
		t.Error("took nonsense for a key")
	}
}

// TestByHand reads a file that age itself has made, with a key that FITOUT_IDENTITY names, and doesn't shut others out.
func TestByHand(t *testing.T) {
	dir := t.TempDir()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "key.txt")
	if err := os.WriteFile(key, []byte("# mine\n"+id.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	w, err := age.Encrypt(&out, id.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "a: x\npin: 0042\nmany: |\n  lines\n")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f := &File{Path: filepath.Join(dir, "s.age"), Keys: Keys{Home: dir, Env: func(string) (string, bool) { return key, true }}}
	if err := os.WriteFile(f.Path, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "x", "pin": "0042", "many": "lines\n"} {
		if v, err := f.Get(name); err != nil || v.Reveal() != want {
			t.Errorf("%s: %q, %v", name, v.Reveal(), err)
		}
	}
	if err := f.Set("b", "y"); err == nil || !strings.Contains(err.Error(), "nothing says whom") {
		t.Error(err)
	}
	stranger, _ := age.GenerateX25519Identity()
	if err := os.WriteFile(f.recipientsPath(), []byte(stranger.Recipient().String()+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := f.Set("b", "y"); err == nil || !strings.Contains(err.Error(), "you could not read") {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"a", "many", "pin"}, again(f).Names()); diff != "" {
		t.Error(diff)
	}
}

func TestEnv(t *testing.T) {
	env := func(name string) (string, bool) { return "from " + name, name == "FITOUT_SECRET_DB_1" }
	if v, err := (Env{Lookup: env}).Get("db_1"); err != nil || v.Reveal() != "from FITOUT_SECRET_DB_1" {
		t.Error(err)
	}
	if _, err := (Env{Lookup: env}).Get("x"); !errors.Is(err, ErrUnknown) || !strings.Contains(hint.Of(err), "FITOUT_SECRET_X") {
		t.Error(err)
	}
}

package profile

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/modules/registry"
)

// TestOrder: whatever the edges, the order obeys them, is the same again, and without edges is the documented one; a loop
// is always found.
func TestOrder(t *testing.T) {
	types := []string{"packages", "groups", "directories", "files", "commands"}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 25).Draw(t, "n")
		c := compilation{after: make([]map[int]bool, n)}
		typ := make([]int, n)
		for i := range typ {
			typ[i] = rapid.IntRange(0, len(types)-1).Draw(t, "type")
		}
		slices.Sort(typ)
		for i := range n {
			b := &built{typ: registry.Find(types[typ[i]]), state: "present", entry: &entry{}}
			if rapid.Bool().Draw(t, "absent") {
				b.state = "absent"
			}
			b.res.Address = fmt.Sprint(i)
			c.all = append(c.all, b)
			c.after[i] = map[int]bool{}
		}
		rank := rapid.Permutation(singles(n)).Draw(t, "direction") // edges that follow it make no loop
		edges := rapid.IntRange(0, 2*n).Draw(t, "edges")
		for range edges {
			i, j := rapid.IntRange(0, n-1).Draw(t, "i"), rapid.IntRange(0, n-1).Draw(t, "j")
			if rank[i] > rank[j] {
				c.after[i][j] = true
			}
		}
		order, err := c.order()
		if err != nil || len(order) != n {
			t.Fatal(order, err)
		}
		place := make([]int, n)
		for p, i := range order {
			place[i] = p
		}
		for i := range c.after {
			for j := range c.after[i] {
				if place[i] < place[j] {
					t.Fatalf("%d before %d: %v", i, j, order)
				}
			}
		}
		for range 3 {
			if again, _ := c.order(); !slices.Equal(order, again) {
				t.Fatal(order, again)
			}
		}
		if edges == 0 {
			ranks := c.ranks()
			if !slices.IsSortedFunc(order, func(i, j int) int { return ranks[i] - ranks[j] }) {
				t.Fatal(order)
			}
		}
	})
}

func TestLoopIsFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 12).Draw(t, "n")
		var text strings.Builder
		text.WriteString("commands:\n")
		for i := range n { // a ring, in any order, with further edges
			fmt.Fprintf(&text, "  - {name: c%d, run: [x], after: [commands/c%d]}\n", i, (i+1)%n)
		}
		_, err := loadText(text.String())
		if err == nil || strings.Count(err.Error(), "a loop, each comes after the next") != 1 ||
			strings.Count(err.Error(), " → ") != n {
			t.Fatal(err)
		}
	})
}

// loadText loads a profile that is a text.
func loadText(text string) (*Profile, error) {
	dir, err := os.MkdirTemp("", "profile")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "profile.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return (&Loader{Env: func(string) (string, bool) { return "", false }}).Load(path)
}

// TestMerge: of three files, each property is what the last file says that says something; an entry is there if some file
// has it, in the order of first mention; and extending in steps is the same as extending all.
func TestMerge(t *testing.T) {
	properties := []string{"fullName", "shell", "home"}
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "merge")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		want := map[string]map[string]any{}
		var order []string
		for f := range 3 {
			var text strings.Builder
			switch f {
			case 1:
				text.WriteString("extends: [f0.yaml]\n")
			case 2:
				text.WriteString(rapid.SampledFrom([]string{"extends: f1.yaml\n", "extends: [f0.yaml, f1.yaml]\n", "extends: [f1.yaml, f0.yaml]\n"}).Draw(t, "extends"))
			}
			text.WriteString("users:\n")
			for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 1, 4, rapid.ID).Draw(t, "users") {
				fmt.Fprintf(&text, "  - name: %s\n", name)
				if want[name] == nil {
					want[name] = map[string]any{"name": name}
					order = append(order, name)
				}
				for _, p := range properties {
					switch value := fmt.Sprintf("/%s%d", p, f); rapid.SampledFrom([]string{"", "set", "null"}).Draw(t, p) {
					case "set":
						fmt.Fprintf(&text, "    %s: %s\n", p, value)
						want[name][p] = value
					case "null":
						fmt.Fprintf(&text, "    %s: null\n", p)
						delete(want[name], p)
					}
				}
			}
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%d.yaml", f)), []byte(text.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		p, err := new(Loader).Load(filepath.Join(dir, "f2.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		c, err := p.Compile(Device{Name: "d"})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]map[string]any{}
		var gotOrder []string
		for _, r := range c.Resources {
			name := r.Want["name"].(string)
			gotOrder = append(gotOrder, name)
			got[name] = maps.Clone(r.Want)
			for k := range got[name] {
				if k != "name" && !slices.Contains(properties, k) {
					delete(got[name], k) // defaults
				}
			}
		}
		if diff := cmp.Diff(want, got) + cmp.Diff(order, gotOrder); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestConcurrentDevices: one profile serves many devices at once, and each gets its own values.
func TestConcurrentDevices(t *testing.T) {
	p := load(t, fiftySeven())
	var group sync.WaitGroup
	for i := range 64 {
		group.Go(func() {
			name := fmt.Sprintf("d%d", i)
			c, err := p.Compile(Device{Name: name, Facts: map[string]any{"os": "linux"}})
			if err != nil {
				t.Error(err)
				return
			}
			for _, r := range c.Resources {
				if r.Type == "hostname" && r.Want["name"] != name {
					t.Errorf("%s gets %v", name, r.Want)
				}
			}
			if len(c.Blobs) != 30 {
				t.Error(len(c.Blobs))
			}
		})
	}
	group.Wait()
}

// TestSourceChanges: a source file that changes after it was hashed is an error when it is sent, never another content.
func TestSourceChanges(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "profile.yaml"), []byte("files: [{path: /etc/x, source: x}]"))
	for _, changed := range []string{"other", "long, longer and longest", ""} {
		writeFile(t, filepath.Join(dir, "x"), []byte("hello"))
		p, err := new(Loader).Load(filepath.Join(dir, "profile.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		c, err := p.Compile(Device{Name: "d"})
		if err != nil {
			t.Fatal(err)
		}
		read := func() (string, error) {
			for _, b := range c.Blobs {
				f, err := b.Open()
				if err != nil {
					return "", err
				}
				defer f.Close()
				text, err := io.ReadAll(f)
				return string(text), err
			}
			return "", nil
		}
		if text, err := read(); err != nil || text != "hello" {
			t.Fatal(text, err)
		}
		writeFile(t, filepath.Join(dir, "x"), []byte(changed))
		if _, err := read(); err == nil || !strings.Contains(err.Error(), "has changed since it was hashed") {
			t.Errorf("%q: %v", changed, err)
		}
	}
}

// TestSourceOfAMixedFleet: what a platform has no use for takes nothing from the devices of another.
func TestSourceOfAMixedFleet(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "profile.yaml"), []byte("installers: [{name: X, source: x.msi}]"))
	writeFile(t, filepath.Join(dir, "x.msi"), []byte("package"))
	p, err := new(Loader).Load(filepath.Join(dir, "profile.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []struct {
		os    string
		blobs int
	}{{"linux", 0}, {"windows", 1}, {"linux", 0}} {
		c, err := p.Compile(Device{Name: d.os, Facts: map[string]any{"os": d.os}})
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Blobs) != d.blobs {
			t.Errorf("%s gets %d contents, want %d", d.os, len(c.Blobs), d.blobs)
		}
	}
}

// TestConstantOnAPlatform: what is the same for every device is checked on each platform all the same.
func TestConstantOnAPlatform(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "profile.yaml")
	writeFile(t, path, []byte("environment: [{name: A, value: \"a#b\"}]"))
	p, err := new(Loader).Load(path)
	if err != nil {
		t.Fatal(err)
	}
	for os, says := range map[string]string{"windows": "", "linux": "profile.yaml:1:32: environment[0].value: value of A: /etc/environment can't hold a #"} {
		_, err := p.Compile(Device{Name: "d", Facts: map[string]any{"os": os}})
		if (err != nil) != (says != "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", os, err, says)
		}
	}
}

// TestSourceIsNamedLater: loading a profile waits for no file to be hashed; one that has gone by then is an error where the
// profile names it.
func TestSourceIsNamedLater(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "profile.yaml"), []byte("files:\n  - {path: /etc/x, source: x}\n"))
	writeFile(t, filepath.Join(dir, "x"), []byte("hello"))
	for range cap(hashing) {
		hashing <- struct{}{}
	}
	p, err := new(Loader).Load(filepath.Join(dir, "profile.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "x")); err != nil {
		t.Fatal(err)
	}
	for range cap(hashing) {
		<-hashing
	}
	if _, err := p.Compile(Device{Name: "d"}); err == nil || !strings.Contains(err.Error(), "profile.yaml:2:28: files[0].source: no file ") {
		t.Error(err)
	}
}

// TestHostileFiles: what isn't a profile at all is refused with a position, quickly.
func TestHostileFiles(t *testing.T) {
	bomb := "a: &a [x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	for name, c := range map[string]struct{ text, want string }{
		"anchor bomb":   {bomb, "profile.yaml:"},
		"20 MB":         {"groups:\n" + strings.Repeat("  - abcdefgh\n", 20<<20/13), "profile.yaml"},
		"UTF-16":        {"\xff\xfeg\x00r\x00", "UTF-16"},
		"invalid UTF-8": {"groups: [\"\xff\"]\n", "profile.yaml:1:"},
		"empty":         {"", "empty"},
		"a list":        {"- x\n", "must be a map"},
	} {
		_, err := loadText(c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{"BOM": "\uFEFFgroups: [a]\n", "CRLF": "groups:\r\n  - a\r\n"} {
		if _, err := loadText(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := loadText("\uFEFFhostname: ${vars.x}\n"); err == nil || !strings.Contains(err.Error(), "profile.yaml:1:13: hostname: unknown variable") {
		t.Errorf("a BOM shifts columns: %v", err)
	}
}

// closed is a file of secrets that can't be opened.
type closed struct{ asked int }

func (c *closed) Get(string) (secret.Value, error) {
	c.asked++
	return secret.Value{}, errors.New("secrets.age: no key to decrypt it with")
}
func (c *closed) Names() []string { return nil }

// TestSecretsAreLazy: the file of secrets is opened for a profile that mentions one only, and told of once.
func TestSecretsAreLazy(t *testing.T) {
	dir := t.TempDir()
	src := &closed{}
	l := &Loader{Secrets: src}
	plain := filepath.Join(dir, "plain.yaml")
	writeFile(t, plain, []byte("groups: [a]\n"))
	p, err := l.Load(plain)
	if err != nil || src.asked > 0 {
		t.Fatal(src.asked, err)
	}
	if again, _ := l.Load(plain); again != p {
		t.Error("a profile is read twice")
	}
	using := filepath.Join(dir, "using.yaml")
	writeFile(t, using, []byte("users:\n  - {name: a, password: \"${secrets.a}\"}\n  - {name: b, password: \"${secrets.b}${secrets.a}\"}\n"))
	_, err = l.Load(using)
	want := using + ":2:28: users[0].password: secrets.age: no key to decrypt it with"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

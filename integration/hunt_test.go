//go:build linux

package integration

import (
	"bytes"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	_ "modernc.org/sqlite"
)

// hunter looks for canaries: secrets that are made for one test, and so can be told from anything else. Each begins and ends
// with a random marker, so that a part of it is found as well as the whole, and a few markers are all there is to look for.
type hunter struct {
	head, tail string
	names      []string          // of the canaries, in the order they were made
	texts      map[string]string // by name
	needles    []needle
	since      time.Time // older files hold no canary

	mu    sync.Mutex
	found map[string]bool
	files int
}

// needle is a marker in one form.
type needle struct {
	form  string
	bytes []byte
}

func newHunter() *hunter {
	h := &hunter{head: word(), tail: word(), texts: map[string]string{}, since: time.Now(), found: map[string]bool{}}
	h.needles = append(formsOf(h.head), formsOf(h.tail)...)
	return h
}

// word is a random one of 12 characters that no form but base64, hex and UTF-16 changes.
func word() string {
	b := make([]byte, 12)
	rand.Read(b)
	for i := range b {
		const letters = "abcdefghijkmnpqrstuvwxyzACDEFGHJKLMNPQRTUVWXY34679"
		b[i] = letters[int(b[i])%len(letters)]
	}
	return string(b)
}

// canary makes a secret with this in its middle.
func (h *hunter) canary(name, middle string) string {
	return h.add(name, h.head+name+middle+h.tail)
}

// add has a secret looked for that has no markers, such as a number.
func (h *hunter) add(name, text string) string {
	h.names, h.texts[name] = append(h.names, name), text
	if !strings.Contains(text, h.head) {
		h.needles = append(h.needles, formsOf(text)...)
	}
	return text
}

// formsOf are the ways in which a text may be written down.
func formsOf(s string) []needle {
	b := []byte(s)
	out := []needle{{"plain", b}, {"hex", []byte(hex.EncodeToString(b))}, {"HEX", bytes.ToUpper([]byte(hex.EncodeToString(b)))}}
	for shift := range 3 { // what comes before shifts base64
		whole := base64.StdEncoding.EncodeToString(append(make([]byte, shift), b...))
		whole = whole[(shift*8+5)/6 : (shift+len(b))*8/6] // what its neighbours don't change
		out = append(out, needle{fmt.Sprintf("base64+%d", shift), []byte(whole)})
		if u := strings.NewReplacer("+", "-", "/", "_").Replace(whole); u != whole {
			out = append(out, needle{fmt.Sprintf("base64url+%d", shift), []byte(u)})
		}
	}
	var le, be []byte
	for _, u := range utf16.Encode([]rune(s)) {
		le, be = append(le, byte(u), byte(u>>8)), append(be, byte(u>>8), byte(u))
	}
	js := strings.ReplaceAll(string(le), "\x00", `\u0000`)
	return append(out, needle{"UTF-16LE", le}, needle{"UTF-16BE", be}, needle{"UTF-16 in JSON", []byte(strings.TrimSuffix(js, `\u0000`))})
}

// search returns what is in data, as "canary (form)", compressed parts included.
func (h *hunter) search(data []byte) []string {
	var hits []string
	for _, n := range h.needles {
		if !bytes.Contains(data, n.bytes) {
			continue
		}
		known := false
		for _, name := range h.names {
			for _, f := range formsOf(h.texts[name]) {
				if (f.form == n.form) && bytes.Contains(data, f.bytes) {
					hits, known = append(hits, name+" ("+n.form+")"), true
				}
			}
		}
		if !known {
			i := bytes.Index(data, n.bytes)
			hits = append(hits, fmt.Sprintf("part of one (%s) …%q", n.form, data[max(0, i-60):min(len(data), i+80)]))
		}
	}
	hits = append(hits, h.compressed(data)...)
	slices.Sort(hits)
	return slices.Compact(hits)
}

// most is how much is unpacked of one stream.
const most = 64 << 20

func (h *hunter) compressed(data []byte) (hits []string) {
	unpack := func(magic, form string, open func(io.Reader) (io.Reader, error)) {
		for at := 0; ; at += len(magic) {
			i := bytes.Index(data[at:], []byte(magic))
			if i < 0 {
				return
			}
			at += i
			r, err := open(bytes.NewReader(data[at:]))
			if err != nil {
				continue
			}
			plain, _ := io.ReadAll(io.LimitReader(r, most)) // what follows a stream is no error of ours
			if len(plain) == 0 {
				continue
			}
			for _, hit := range h.search(plain) {
				hits = append(hits, hit+" in "+form)
			}
		}
	}
	unpack("\x1f\x8b\x08", "gzip", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) })
	unpack("\x28\xb5\x2f\xfd", "zstd", func(r io.Reader) (io.Reader, error) {
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(most))
	})
	return hits
}

// text searches what a command printed, for example. Nothing may be there.
func (h *hunter) text(place string, data []byte) { h.report(place, h.search(data), nil) }

// report notes what was found, unless it may be there: a canary's name, or "*" for all.
func (h *hunter) report(place string, hits []string, allowed []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, hit := range hits {
		name, _, _ := strings.Cut(hit, " (")
		if !slices.Contains(allowed, name) && !slices.Contains(allowed, "*") {
			h.found[place+": "+hit] = true
		}
	}
}

// tree searches all regular files below root that were made or changed since the hunt began, and the names of all files and
// what links point to. allowed says which canaries may be in a file, by its path below root. Mounts of other kinds than
// files (proc, sys) aren't entered.
func (h *hunter) tree(t *testing.T, what, root string, allowed func(path string) []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it went meanwhile
		}
		rel := "/" + strings.TrimPrefix(strings.TrimPrefix(path, root), "/")
		if d.IsDir() && (rel == "/proc" || rel == "/sys" || rel == "/dev" && what == "device") {
			return fs.SkipDir
		}
		var may []string
		if allowed != nil {
			may = allowed(rel)
		}
		h.report(what+" "+rel+" (its name)", h.search([]byte(d.Name())), may)
		fi, err := d.Info()
		if err != nil {
			return nil
		}
		if d.Type()&fs.ModeSymlink != 0 {
			target, _ := os.Readlink(path)
			h.report(what+" "+rel+" (a link)", h.search([]byte(target)), may)
		}
		if !fi.Mode().IsRegular() || ctime(fi).Before(h.since) {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		h.mu.Lock()
		h.files++
		h.mu.Unlock()
		h.report(what+" "+rel, h.search(data), may)
		if strings.HasSuffix(path, ".db") {
			h.report(what+" "+rel+" (a row)", h.search(rows(t, path)), may)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// ctime is when a file was last changed, which nobody can set.
func ctime(fi fs.FileInfo) time.Time {
	s := fi.Sys().(*syscall.Stat_t)
	return time.Unix(s.Ctim.Unix())
}

// rows are all values in a database: on its pages they may be cut in pieces.
func rows(t *testing.T, path string) []byte {
	t.Helper()
	db, err := sql.Open("sqlite", path+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var out bytes.Buffer
	query := func(q string, each func(values []any)) {
		rs, err := db.Query(q)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		defer rs.Close()
		columns, _ := rs.Columns()
		for rs.Next() {
			values, to := make([]any, len(columns)), make([]any, len(columns))
			for i := range values {
				to[i] = &values[i]
			}
			if err := rs.Scan(to...); err != nil {
				t.Fatal(err)
			}
			each(values)
		}
	}
	var tables []string
	query("SELECT name FROM sqlite_master WHERE type='table'", func(v []any) { tables = append(tables, fmt.Sprint(v[0])) })
	for _, table := range tables {
		query(`SELECT * FROM "`+table+`"`, func(v []any) {
			for _, x := range v {
				if b, ok := x.([]byte); ok {
					out.Write(b)
				} else {
					fmt.Fprint(&out, x)
				}
				out.WriteByte(' ')
			}
		})
	}
	return out.Bytes()
}

// raw searches a disk's image, deleted files and all, for those canaries that no file may hold. A hole is skipped.
func (h *hunter) raw(t *testing.T, image string, names ...string) {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const seekData, seekHole = 3, 4
	for at := int64(0); ; {
		from, err := f.Seek(at, seekData)
		if err != nil {
			return // no more data
		}
		if at, err = f.Seek(from, seekHole); err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(io.NewSectionReader(f, from, at-from))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range h.needles {
			for i := 0; ; i += len(n.bytes) {
				next := bytes.Index(data[i:], n.bytes)
				if next < 0 {
					break
				}
				i += next
				near := data[max(0, i-1000):min(len(data), i+1000)]
				for _, name := range names {
					if slices.ContainsFunc(formsOf(h.texts[name]), func(f needle) bool { return f.form == n.form && bytes.Contains(near, f.bytes) }) {
						h.report(fmt.Sprintf("the disk at byte %d", from+int64(i)), []string{name + " (" + n.form + ")"}, nil)
					}
				}
			}
		}
	}
}

// processes searches the arguments and the environment of all processes of this host, those of its machines among them, as
// often as it can until stopped. allowed says which canaries may be in an environment.
func (h *hunter) processes(allowed func(argv, environ []byte) []string) (stop func() (seen int)) {
	end, ended := make(chan struct{}), make(chan struct{})
	known := map[string]bool{}
	go func() {
		defer close(ended)
		for {
			entries, _ := os.ReadDir("/proc")
			for _, e := range entries {
				if c := e.Name()[0]; c < '0' || c > '9' {
					continue
				}
				argv, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
				if err != nil || len(argv) == 0 || known[e.Name()+string(argv)] {
					continue
				}
				environ, _ := os.ReadFile("/proc/" + e.Name() + "/environ")
				known[e.Name()+string(argv)] = true
				h.report(fmt.Sprintf("arguments of %q", argv), h.search(argv), nil)
				h.report(fmt.Sprintf("environment of %q", argv), h.search(environ), allowed(argv, environ))
			}
			select {
			case <-end:
				return
			case <-time.After(3 * time.Millisecond): // leaves the processors to those that are watched
			}
		}
	}()
	return func() int {
		close(end)
		<-ended
		return len(known)
	}
}

// ends fails the test with all that was found.
func (h *hunter) ends(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []string
	for f := range h.found {
		all = append(all, f)
	}
	slices.Sort(all)
	for _, f := range all {
		t.Errorf("found: %s", f)
	}
}

// TestTheHuntFindsEachForm plants a secret in each form and place: a hunt that overlooks one proves nothing.
func TestTheHuntFindsEachForm(t *testing.T) {
	t.Parallel()
	h := newHunter()
	s := h.canary("planted", `"<ö>%`)
	js, _ := json.Marshal(map[string]string{"key": s})
	quoted := fmt.Sprintf("%q", s)
	utf := func(big bool) string {
		var b []byte
		for _, u := range utf16.Encode([]rune("x" + s + "y")) {
			if big {
				b = append(b, byte(u>>8), byte(u))
			} else {
				b = append(b, byte(u), byte(u>>8))
			}
		}
		return string(b)
	}
	zip := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		io.WriteString(z, text)
		z.Close()
		return b.String()
	}
	zst := func(text string) string {
		e, _ := zstd.NewWriter(nil)
		return string(e.EncodeAll([]byte(text), nil))
	}
	forms := map[string]string{
		"plain": "a " + s + " b", "json": string(js), "quoted": quoted, "url": "http://u:" + url.QueryEscape(s) + "@x", "half": "x" + s[:len(s)/2], "other half": s[len(s)/2:] + "x",
		"hex": hex.EncodeToString([]byte("x" + s + "y")), "HEX": strings.ToUpper(hex.EncodeToString([]byte(s))), "utf16le": utf(false), "utf16be": utf(true), "utf16 in json": strings.ReplaceAll(utf(true), "\x00", `\u0000`),
		"gzip": zip(s), "gzip later": "a header" + zip(strings.Repeat(s, 3)) + "and a trailer", "zstd": zst(s), "zstd in a journal": "LPKSHHRH" + zst(strings.Repeat("x", 600)+s) + "\x00\x00more",
		"base64 in gzip": zip(base64.StdEncoding.EncodeToString([]byte(s))), "gzip in zstd": zst("x" + zip(s)),
	}
	for i := range 3 {
		forms[fmt.Sprint("base64 ", i)] = base64.StdEncoding.EncodeToString([]byte("xyz"[:i] + s + "end"))
		forms[fmt.Sprint("base64url ", i)] = base64.RawURLEncoding.EncodeToString([]byte("??>"[:i] + s + "\xff\xfe\xff"))
	}
	dir := t.TempDir()
	for name, text := range forms {
		if len(h.search([]byte(text))) == 0 {
			t.Errorf("%s: overlooked in %q", name, text)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(s, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, h.head), 0o700); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("CREATE TABLE t (x TEXT); INSERT INTO t VALUES (?)", strings.Repeat("long ", 5000)+s); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if got := h.search([]byte(strings.Repeat("nothing to see ", 100))); got != nil {
		t.Errorf("found in what holds nothing: %v", got)
	}
	h.since = time.Time{}
	h.tree(t, "here", dir, func(path string) []string {
		if path == "/plain" {
			return []string{"planted"}
		}
		return nil
	})
	h.raw(t, filepath.Join(dir, "base64 1"), "planted")
	for name := range forms {
		if found := slices.ContainsFunc(slices.Collect(maps.Keys(h.found)), func(f string) bool { return strings.HasPrefix(f, "here /"+name+": ") }); found == (name == "plain") {
			t.Errorf("the file %q: found is %t", name, found)
		}
	}
	for _, place := range []string{"here /link (a link)", "here /" + h.head + " (its name)", "here /store.db (a row)", "the disk at byte"} {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(h.found)), func(f string) bool { return strings.HasPrefix(f, place) }) {
			t.Errorf("overlooked: %s", place)
		}
	}

	h.found = map[string]bool{}
	stop := h.processes(func(_, _ []byte) []string { return nil })
	argv, environ := sleeper(t, nil, s), sleeper(t, []string{"KEY=" + s}, "1")
	until(t, "both processes to be found", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.found) >= 2
	})
	stop()
	argv()
	environ()
}

// sleeper starts a process with this argument and environment.
func sleeper(t *testing.T, env []string, arg string) (end func()) {
	t.Helper()
	c := exec.Command("sh", "-c", "read wait", arg)
	c.Env = env
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return func() { in.Close(); c.Wait() }
}

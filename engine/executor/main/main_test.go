package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fitout-dev/fitout/engine/executor/bundle"
	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules/host"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// maxCompressed is how large an executor may be on its way to a device.
const maxCompressed = 4 << 20

func build(t testing.TB, dir, goos, arch string) []byte {
	t.Helper()
	bin, err := bundle.Build(t.Context(), dir, filepath.Join(t.TempDir(), "executor"), goos, arch)
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

func moduleDir(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestSize(t *testing.T) {
	bin := build(t, moduleDir(t), "linux", "amd64")
	z, _, err := bundle.Compress(bin)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.2f MB, compressed %.2f MB", float64(len(bin))/1e6, float64(len(z))/1e6)
	if len(z) > maxCompressed {
		t.Errorf("the executor takes %d bytes compressed, and %d are allowed", len(z), maxCompressed)
	}
}

// The executor has the modules, the host and the protocol in it, and nothing else of fitout or for it.
func TestContents(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	ours, foreign := 0, 0
	for _, p := range strings.Fields(string(out)) {
		if name, ok := strings.CutPrefix(p, "github.com/fitout-dev/fitout/"); ok {
			ours++
			if part := strings.TrimPrefix(name, "engine/executor"); !strings.HasPrefix(name, "modules") && !slices.Contains([]string{"", "/main", "/wire", "/facts", "/journal", "/disk", "/nodump", "/preflight"}, part) {
				t.Errorf("the executor contains %s", name)
			}
			continue
		}
		if strings.Contains(strings.Split(p, "/")[0], ".") {
			foreign++
			for _, bad := range []string{"pulumi", "sqlite", "cobra", "yaml", "jsonschema", "age", "expr-lang", "x/crypto/ssh"} {
				if strings.Contains(p, bad) {
					t.Errorf("the executor contains %s", p)
				}
			}
		}
		if p == "net/http" || p == "text/template" || p == "html/template" || p == "testing" {
			t.Errorf("the executor contains %s", p)
		}
	}
	if ours < 5 || foreign == 0 {
		t.Errorf("only %d packages of fitout and %d of others were found", ours, foreign)
	}
}

// Two builds of the same source in different folders are the same file: a device that has one needs no other.
func TestBuildsAreReproducible(t *testing.T) {
	if testing.Short() {
		t.Skip("builds twice")
	}
	dir := moduleDir(t)
	twin := filepath.Join(t.TempDir(), "another", "place")
	for _, part := range []string{"go.mod", "go.sum", "engine/executor", "modules"} {
		copyTree(t, filepath.Join(dir, part), filepath.Join(twin, part))
	}
	first, second := build(t, dir, "linux", "amd64"), build(t, twin, "linux", "amd64")
	if !bytes.Equal(first, second) {
		t.Errorf("two builds differ: %d and %d bytes", len(first), len(second))
	}
	if bytes.Contains(first, []byte(dir)) {
		t.Error("the executor tells where it was built")
	}
}

// copyTree copies the Go files below from, tests left out.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasSuffix(p, "_test.go") || strings.Contains(p, "testdata") {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return os.WriteFile(target, b, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func program(t testing.TB) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("a program needs another name there")
	}
	path := filepath.Join(t.TempDir(), "executor")
	if err := os.WriteFile(path, build(t, moduleDir(t), runtime.GOOS, runtime.GOARCH), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheProgram(t *testing.T) {
	path := program(t)
	out, err := exec.Command(path).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "started by fitout") {
		t.Errorf("started by hand: %v %s", err, out)
	}
	cmd := exec.Command(path, "-root", t.TempDir(), "-dir", t.TempDir())
	cmd.Stdin = strings.NewReader("")
	answer, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	m, err := wire.NewConn(bytes.NewReader(answer), nil).Receive()
	if err != nil || m.Hello == nil || m.Hello.OS != runtime.GOOS {
		t.Errorf("%+v %v", m, err)
	}
	cmd = exec.Command(path, "-dir", t.TempDir())
	cmd.Stdin = strings.NewReader(wire.Magic + "nonsense")
	if out, err := cmd.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("executor: ")) {
		t.Errorf("nonsense: %v %q", err, out)
	}
}

// An executor that isn't started any more goes, one that is stays, however old it is.
func TestOldExecutorsAreRemoved(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "bin", "mine", "executor")
	bin, err := os.ReadFile(program(t))
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-60 * 24 * time.Hour)
	for name, at := range map[string]time.Time{"mine": old, "old": old, "recent": time.Now().Add(-time.Hour)} {
		d := filepath.Join(dir, "bin", name)
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d, "executor"), bin, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(d, at, at); err != nil {
			t.Fatal(err)
		}
	}
	start := func(ask ...wire.Message) {
		var in bytes.Buffer
		if err := wire.NewConn(nil, &in).Send(ask...); err != nil {
			t.Fatal(err)
		}
		in.WriteString(map[bool]string{true: wire.Magic}[in.Len() == 0])
		cmd := exec.Command(mine, "-root", t.TempDir(), "-dir", dir)
		cmd.Stdin = &in
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v %q", err, out)
		}
	}
	start()
	if fi, err := os.Stat(filepath.Dir(mine)); err != nil || time.Since(fi.ModTime()) > time.Hour {
		t.Error("it isn't noted that the executor is in use")
	}
	start(wire.Message{Run: &wire.Document{ID: "r1"}})
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) { // the run goes on by itself
		if _, err := os.Stat(filepath.Join(dir, "bin", "old")); err != nil {
			break
		}
	}
	for name, want := range map[string]bool{"mine": true, "old": false, "recent": true} {
		if _, err := os.Stat(filepath.Join(dir, "bin", name)); (err == nil) != want {
			t.Errorf("%s: there %t, want %t", name, err == nil, want)
		}
	}
}

// 200 MB pass through a device that has little memory.
func TestMemoryOfALargeFile(t *testing.T) {
	if testing.Short() {
		t.Skip("200 MB")
	}
	root := t.TempDir()
	cmd := exec.Command(program(t), "-root", root, "-dir", t.TempDir())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	const size = 200 << 20
	blob, err := host.BlobOf(io.LimitReader(&noise{}, size))
	if err != nil {
		t.Fatal(err)
	}
	c := wire.NewConn(out, in)
	if err := c.SendBlob(wire.Blob{Hash: blob.Hash, Size: blob.Size}, io.LimitReader(&noise{}, size)); err != nil {
		t.Fatal(err)
	}
	r := wire.Resource{Address: "files//image", Type: "files", Want: fmt.Appendf(nil, `{"path":"/image","content":{"hash":%q,"size":%d}}`, blob.Hash, blob.Size)}
	if err := c.Send(wire.Message{Run: &wire.Document{ID: "r1", Resources: []wire.Resource{r}}}); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := c.Receive()
		if err != nil || m.Failed != nil || m.Event != nil && m.Event.Error != "" {
			t.Fatalf("%+v %v", m, err)
		}
		if m.Event != nil && m.Event.Type == wire.Finished {
			break
		}
	}
	if fi, err := os.Stat(filepath.Join(root, "image")); err != nil || fi.Size() != size {
		t.Errorf("%v %v", fi, err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err != nil {
		t.Skip("no /proc: ", err)
	}
	for line := range strings.Lines(string(status)) {
		var kb int
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kb); n == 1 {
			t.Logf("at most %d MB", kb>>10)
			if kb > 60<<10 {
				t.Errorf("the executor took %d MB", kb>>10)
			}
		}
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// noise is half compressible.
type noise struct{ x uint64 }

func (n *noise) Read(p []byte) (int, error) {
	for i := range p {
		n.x = n.x*6364136223846793005 + 1442695040888963407
		p[i] = byte(n.x>>60) & byte(n.x>>40)
	}
	return len(p), nil
}

// session starts the program, and returns once it has said hello and answered the questions.
func session(b *testing.B, path, root, dir string, ask ...wire.Message) {
	cmd := exec.Command(path, "-root", root, "-dir", dir)
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	c := wire.NewConn(out, in)
	if _, err := c.Receive(); err != nil {
		b.Fatal(err)
	}
	for _, m := range ask {
		if err := c.Send(m); err != nil {
			b.Fatal(err)
		}
		if m, err := c.Receive(); err != nil || m.Observed == nil {
			b.Fatal(m, err)
		}
	}
	in.Close()
	io.Copy(io.Discard, out)
	if err := cmd.Wait(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkStart is from the start of the process to its end, with hello between.
func BenchmarkStart(b *testing.B) {
	path := program(b)
	for b.Loop() {
		session(b, path, "/", b.TempDir())
	}
}

// BenchmarkObserve is the same with a look at 500 files.
func BenchmarkObserve(b *testing.B) {
	path, root := program(b), b.TempDir()
	var rs []wire.Resource
	for i := range 500 {
		name := fmt.Sprintf("f%d", i)
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o644); err != nil {
			b.Fatal(err)
		}
		rs = append(rs, wire.Resource{Address: "files//" + name, Type: "files", Want: fmt.Appendf(nil, `{"path":"/%s","mode":"0644","content":{"hash":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}}`, name)})
	}
	for b.Loop() {
		session(b, path, root, b.TempDir(), wire.Message{Observe: &wire.Observe{Resources: rs}})
	}
}

package bundle

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/modules/hint"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// emptyCache gives a test a cache of its own for executors, and the toolchain the usual one.
func emptyCache(t *testing.T) string {
	t.Helper()
	if embeds {
		t.Skip("a release has no cache")
	}
	out, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE", "GOPATH").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(out), "\n")
	dir := t.TempDir()
	t.Setenv("GOCACHE", lines[0])
	t.Setenv("GOMODCACHE", lines[1])
	t.Setenv("GOPATH", lines[2])
	t.Setenv("HOME", dir)
	t.Setenv("XDG_CACHE_HOME", dir)
	t.Setenv("LocalAppData", dir)
	forget()
	t.Cleanup(forget)
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(cache, "fitout", "executors")
}

// forget makes the next For look into the cache, as the next process does.
func forget() {
	mu.Lock()
	clear(known)
	mu.Unlock()
}

func get(t *testing.T) *Executor {
	t.Helper()
	e, err := For(t.Context(), runtime.GOOS, runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// verify unpacks an executor and compares it with what is said of it.
func verify(t *testing.T, e *Executor) {
	t.Helper()
	r, err := e.Open()
	if err != nil {
		t.Error(err)
		return
	}
	defer r.Close()
	z, err := gzip.NewReader(r)
	if err != nil {
		t.Error(err)
		return
	}
	sum := sha256.New()
	n, err := io.Copy(sum, z)
	if err != nil || n != e.Size || hex.EncodeToString(sum.Sum(nil)) != e.Hash {
		t.Errorf("%d bytes, %v; said were %d bytes, %s", n, err, e.Size, e.Hash)
	}
}

func entry(t *testing.T, dir, ending string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"+ending))
	if err != nil || len(found) != 1 {
		t.Fatalf("%v %v", found, err)
	}
	return found[0]
}

func TestTheCache(t *testing.T) {
	if testing.Short() {
		t.Skip("builds executors again and again")
	}
	dir := emptyCache(t)
	path := os.Getenv("PATH")
	e := get(t)
	if e.OS != runtime.GOOS || e.Arch != runtime.GOARCH {
		t.Errorf("%+v", e)
	}
	verify(t, e)
	z, ix := entry(t, dir, ".gz"), entry(t, dir, ".json")

	t.Run("is used by the next process", func(t *testing.T) {
		t.Setenv("PATH", "") // no Go
		forget()
		if again := get(t); again.Hash != e.Hash {
			t.Errorf("%s, and before %s", again.Hash, e.Hash)
		}
		verify(t, get(t))
	})
	whole, err := os.ReadFile(z)
	if err != nil {
		t.Fatal(err)
	}
	middle := append([]byte(nil), whole...)
	middle[len(middle)/2] ^= 1
	for name, content := range map[string][]byte{"cut": whole[:1000], "changed": middle, "empty": nil} {
		t.Run(name+" is made again", func(t *testing.T) {
			if err := os.WriteFile(z, content, 0o644); err != nil {
				t.Fatal(err)
			}
			forget()
			verify(t, get(t))
			if b, _ := os.ReadFile(z); string(b) != string(whole) {
				t.Error("the entry is still damaged")
			}
		})
	}
	for name, content := range map[string]string{"no JSON": "{", "another": "{}", "of no size": `{"hash":"` + e.Hash + `"}`} {
		t.Run("an index with "+name+" is made again", func(t *testing.T) {
			if err := os.WriteFile(ix, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
			forget()
			if again := get(t); again.Hash != e.Hash || again.Size != e.Size {
				t.Errorf("%+v", again)
			}
		})
	}
	t.Run("a wrong index is noticed", func(t *testing.T) {
		b, _ := json.Marshal(index{strings.Repeat("0", 64), e.Size})
		if err := os.WriteFile(ix, b, 0o644); err != nil {
			t.Fatal(err)
		}
		forget()
		if _, err := get(t).Open(); err == nil || hint.Of(err) == "" {
			t.Errorf("%v", err)
		}
		if again := get(t); again.Hash != e.Hash {
			t.Errorf("the second time %+v", again)
		}
	})
	t.Run("without Go", func(t *testing.T) {
		os.Remove(z)
		forget()
		t.Setenv("PATH", "")
		if _, err := For(t.Context(), runtime.GOOS, runtime.GOARCH); err == nil || !strings.Contains(hint.Of(err), "Go") {
			t.Errorf("%v, hint %q", err, hint.Of(err))
		}
		t.Setenv("PATH", path)
		verify(t, get(t))
	})
}

func TestAtOnce(t *testing.T) {
	emptyCache(t)
	var wg sync.WaitGroup
	got := make([]*Executor, 16)
	for i := range got {
		wg.Go(func() {
			var err error
			if got[i], err = For(t.Context(), runtime.GOOS, runtime.GOARCH); err != nil {
				t.Error(err)
				return
			}
			verify(t, got[i])
		})
	}
	wg.Wait()
	for _, e := range got {
		if e != got[0] {
			t.Error("there are two of the same")
		}
	}
}

func TestOtherPlatforms(t *testing.T) {
	for _, p := range [][2]string{{"plan9", "amd64"}, {"linux", "riscv64"}, {"linux", ""}, {"linux", "../../etc"}} {
		if _, err := For(t.Context(), p[0], p[1]); err == nil || !strings.Contains(hint.Of(err), "linux/amd64") {
			t.Errorf("%v: %v", p, err)
		}
	}
}

func TestOldBuildsAreForgotten(t *testing.T) {
	dir := t.TempDir()
	for i := range 7 {
		base := filepath.Join(dir, fmt.Sprintf("linux-amd64-%d", i))
		for _, ending := range []string{".gz", ".json"} {
			if err := os.WriteFile(base+ending, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		at := time.Now().Add(time.Duration(i) * time.Hour)
		os.Chtimes(base+".gz", at, at)
	}
	other := filepath.Join(dir, "linux-arm64-0.gz")
	os.WriteFile(other, nil, 0o644)
	forgetOld(dir, "linux-amd64")
	left, _ := filepath.Glob(filepath.Join(dir, "linux-amd64-*"))
	if len(left) != 8 || strings.HasSuffix(left[0], "-2.gz") {
		t.Errorf("left: %v", left)
	}
	if _, err := os.Stat(other); err != nil {
		t.Error("another platform's is gone")
	}
}

// The name of a program is found in its file on each platform, and changes with the program.
func TestBuildID(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module x\n\ngo 1.24\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, goos := range []string{"linux", "windows", "darwin"} {
		t.Run(goos, func(t *testing.T) {
			ids := map[string]bool{}
			for i, source := range []string{"package main\nfunc main() {}\n", "package main\nfunc main() { println(1) }\n"} {
				if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o644); err != nil {
					t.Fatal(err)
				}
				exe := filepath.Join(dir, fmt.Sprint(goos, i))
				cmd := exec.Command("go", "build", "-o", exe, ".")
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH=amd64", "CGO_ENABLED=0", "GOFLAGS=")
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				want, err := exec.Command("go", "tool", "buildid", exe).Output()
				if err != nil {
					t.Fatal(err)
				}
				b, err := os.ReadFile(exe)
				if err != nil {
					t.Fatal(err)
				}
				if got := marker(b[:min(len(b), 256<<10)]); got != strings.TrimSpace(string(want)) {
					t.Errorf("%q, want %q", got, want)
				}
				id, err := buildID(exe)
				if err != nil {
					t.Fatal(err)
				}
				ids[id] = true
			}
			if len(ids) != 2 {
				t.Error("two programs have one name")
			}
		})
	}
	if marker([]byte("#!/bin/sh\n")) != "" {
		t.Error("a script has a build ID")
	}
	// A program without one goes by its file.
	script := filepath.Join(dir, "script")
	os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755)
	first, err := buildID(script)
	os.WriteFile(script, []byte("#!/bin/sh\necho\n"), 0o755)
	second, _ := buildID(script)
	if err != nil || first == second {
		t.Errorf("%s %s %v", first, second, err)
	}
}

// A release carries its executors: this very test is built as one, with the executor of this platform inside.
func TestRelease(t *testing.T) {
	if embeds {
		e := get(t)
		verify(t, e)
		if e.Hash != os.Getenv("FITOUT_TEST_HASH") {
			t.Errorf("%+v", e)
		}
		if _, err := For(t.Context(), "windows", "arm64"); err == nil {
			t.Error("an executor that is not inside was given, without source")
		}
		return
	}
	dist := t.TempDir()
	name := runtime.GOOS + "-" + runtime.GOARCH
	make := exec.Command("go", "run", "./make", "-o", dist, "-for", runtime.GOOS+"/"+runtime.GOARCH)
	if out, err := make.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(dist, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var ix index
	if err := json.Unmarshal(b, &ix); err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	replace := map[string]string{}
	made, _ := filepath.Glob(filepath.Join(here, "dist", "*")) // what a release build has left isn't this test's
	for _, path := range made {
		replace[path] = ""
	}
	for _, ending := range []string{".gz", ".json"} {
		replace[filepath.Join(here, "dist", name+ending)] = filepath.Join(dist, name+ending)
	}
	overlay, _ := json.Marshal(map[string]any{"Replace": replace})
	file := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(file, overlay, 0o644); err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(t.TempDir(), "release.test")
	if out, err := exec.Command("go", "test", "-c", "-o", exe, "-tags=release", "-trimpath", "-overlay="+file, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	release := exec.Command(exe, "-test.run=^TestRelease$")
	release.Dir = t.TempDir()
	release.Env = []string{"PATH=", "HOME=" + t.TempDir(), "FITOUT_TEST_HASH=" + ix.Hash}
	if out, err := release.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

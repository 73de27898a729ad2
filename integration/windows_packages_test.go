package integration

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/integration/lab"
)

// TestWindowsPackages runs tests of packages that are the same everywhere, or Windows' alone, as programs for Windows.
func TestWindowsPackages(t *testing.T) {
	t.Parallel()
	m := lab.New(t).Machine(t, lab.Wine)
	for _, c := range []struct {
		pkg, tests string
		env        []string
	}{
		{"engine/executor/journal", "Every|Foreign|Hostile|AppendAndOpen|Follow$|FollowByByte", nil},
		{"engine/executor/wire", ".", nil},
		{"engine/executor/preflight", ".", nil},
		{"engine/executor/facts", "TestRebootPending", nil},
		{"engine/executor", "^(TestPlace|TestBootID|TestPipe|TestStore|TestLock|TestOwed|TestState)", nil},
		{"engine/executor", "^TestPlace", []string{"FITOUT_TEST_UNSAFE=1"}},
	} {
		t.Run(filepath.Base(c.pkg), func(t *testing.T) {
			dir := `C:\tests\` + filepath.Base(c.pkg)
			folder := m.WindowsPath(dir)
			if err := os.MkdirAll(folder, 0o755); err != nil {
				t.Fatal(err)
			}
			if data, err := filepath.Abs(filepath.Join("..", c.pkg, "testdata")); err == nil {
				if _, err := os.Stat(data); err == nil && os.RemoveAll(filepath.Join(folder, "testdata")) == nil {
					if err := os.CopyFS(filepath.Join(folder, "testdata"), os.DirFS(data)); err != nil {
						t.Fatal(err)
					}
				}
			}
			build := exec.Command("go", "test", "-c", "-o", filepath.Join(folder, "package.test.exe"), "./"+c.pkg)
			build.Dir = ".."
			build.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if c.env != nil { // everybody may write there
				if err := os.Chmod(folder, 0o777); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			w := m.Windows(ctx, dir+`\package.test.exe`, "-test.short", "-test.timeout=150s", "-test.run="+c.tests)
			var out bytes.Buffer
			w.Dir, w.Env, w.Stdout, w.Stderr = dir, c.env, &out, &out
			if code, err := w.Run(); err != nil || code != 0 {
				t.Errorf("code %d, %v\n%s", code, err, out.Bytes())
			}
		})
	}
}

package local

import (
	"io"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/engine/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	transporttest.Run(t, transporttest.Target{
		Open: func(*testing.T) transport.Transport { return New() },
		Dir:  t.TempDir(),
	})
}

// A program that goes to the background must not hold up whoever waits for what started it, nor be killed with it.
func TestBackground(t *testing.T) {
	l := New()
	defer l.Close()
	p, err := l.Start(t.Context(), transport.Command{Line: "sleep 600 >/dev/null & echo $!"})
	if err != nil {
		t.Fatal(err)
	}
	out, _ := io.ReadAll(p.Stdout())
	if exit, err := p.Wait(); err != nil || exit.Code != 0 {
		t.Fatalf("%+v, %v", exit, err)
	}
	pid := strings.TrimSpace(string(out))
	p, err = l.Start(t.Context(), transport.Command{Line: "kill " + pid})
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, p.Stdout())
	if exit, err := p.Wait(); err != nil || exit.Code != 0 {
		t.Errorf("the background program %s is gone already: %+v, %v", pid, exit, err)
	}
}

func TestEnvironmentAndFolder(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("FITOUT_SECRET_X", "a secret for fitout alone")
	l := NewWith(dir, []string{"FITOUT_TEST=here"})
	defer l.Close()
	p, err := l.Start(t.Context(), transport.Command{Line: `echo "$FITOUT_SECRET_X$FITOUT_TEST $(pwd -P)"`})
	if err != nil {
		t.Fatal(err)
	}
	out, _ := io.ReadAll(p.Stdout())
	p.Wait()
	if got := strings.TrimSpace(string(out)); !strings.HasPrefix(got, "here /") || !strings.HasSuffix(dir, got[len(got)-3:]) {
		t.Errorf("got %q, want here %s", got, dir)
	}
}

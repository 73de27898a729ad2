package run

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/engine/plan"
	"github.com/fitout-dev/fitout/engine/profile"
	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/engine/transport/ssh"
	"github.com/fitout-dev/fitout/engine/transport/sshserver"
	gossh "golang.org/x/crypto/ssh"
)

// folderDevice is a device whose root is a folder, behind a real SSH server in this process.
func folderDevice(t *testing.T, name, profilePath string) (Device, string) {
	t.Helper()
	root := t.TempDir()
	for _, d := range []string{"etc", "var/lib"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(root, "etc/os-release"), "ID=debian\nVERSION_ID=\"12\"\n")
	write(t, filepath.Join(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")
	write(t, filepath.Join(root, "etc/group"), "root:x:0:\n")
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := gossh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	identity := filepath.Join(t.TempDir(), "id")
	write(t, identity, string(pem.EncodeToMemory(block)))
	signer, err := gossh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	server, err := sshserver.Start(sshserver.Options{AuthorizedKey: signer.PublicKey(), SFTP: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	l := &profile.Loader{}
	return Device{
		Name: name, Address: server.Address(), Profile: filepath.Base(profilePath),
		Target: Target{Root: root, Dir: filepath.Join(t.TempDir(), "fitout")},
		Compile: func(facts map[string]any) (*profile.Compiled, error) {
			p, err := l.Load(profilePath)
			if err != nil {
				return nil, err
			}
			return p.Compile(profile.Device{Name: name, Facts: facts})
		},
		Dial: func(ctx context.Context) (transport.Transport, error) {
			return ssh.Dial(ctx, ssh.Options{Device: name, Address: server.Address(), User: "tester", IdentityFile: identity, HostKey: server.HostKey(), ConfigFile: "none", HomeDir: t.TempDir()})
		},
	}, root
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAProfileBringsADeviceToItsState(t *testing.T) {
	p := filepath.Join(t.TempDir(), "site.yaml")
	write(t, p, `profile: site
variables: {company: Example S.A.}
directories:
  - {path: /srv/data, mode: "0750"}
files:
  - {path: /etc/motd, content: "Property of ${vars.company}\n", mode: "0644"}
  - {path: /srv/data/readme, content: "hello\n"}
lines:
  - {path: /etc/environment, line: "A=1"}
groups:
  - name: sales
`)
	d, root := folderDevice(t, "lt-1", p)
	r := &Runner{Report: func(e Event) {
		if e.Log != nil || e.Event != nil {
			t.Logf("%s %+v %+v", e.Device, e.Log, e.Event)
		}
	}}
	res := r.Plan(context.Background(), []Device{d})[0]
	if res.Status != Pending || res.Err != nil {
		t.Fatalf("plan: %s %v %+v", res.Status, res.Err, res.Plan)
	}
	if _, err := os.Stat(filepath.Join(root, "etc/motd")); err == nil {
		t.Error("plan wrote a file")
	}
	res = r.Apply(context.Background(), []Device{d}, nil)[0]
	if res.Status != Changed || res.Err != nil {
		t.Fatalf("apply: %s %v", res.Status, res.Err)
	}
	if b, _ := os.ReadFile(filepath.Join(root, "etc/motd")); string(b) != "Property of Example S.A.\n" {
		t.Errorf("motd is %q", b)
	}
	r.ID = ""
	res = r.Apply(context.Background(), []Device{d}, nil)[0]
	if res.Status != Converged || res.Err != nil {
		t.Fatalf("again: %s %v %+v", res.Status, res.Err, res.Plan)
	}
}

const twoFiles = `profile: two
files:
  - {path: /etc/a, content: "a\n"}
  - {path: /etc/b, content: "b\n", after: [files//etc/a]}
`

func profileFile(t *testing.T, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "site.yaml")
	write(t, p, text)
	return p
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Lstat(path)
	return err == nil
}

func TestDecliningChangesNothing(t *testing.T) {
	d, root := folderDevice(t, "lt-1", profileFile(t, twoFiles))
	shown := false
	res := (&Runner{}).Apply(context.Background(), []Device{d}, func(rs []Result) bool {
		shown = rs[0].Plan.Count().Create == 2
		return false
	})[0]
	if !shown {
		t.Error("the plan was not shown before asking")
	}
	if res.Status == Changed || exists(t, filepath.Join(root, "etc/a")) {
		t.Errorf("declined, and yet: %s", res.Status)
	}
}

func TestADeviceThatDriftsWhileSomebodyThinksIsRefused(t *testing.T) {
	d, root := folderDevice(t, "lt-1", profileFile(t, twoFiles))
	res := (&Runner{}).Apply(context.Background(), []Device{d}, func([]Result) bool {
		write(t, filepath.Join(root, "etc/b"), "somebody else's\n")
		return true
	})[0]
	if res.Status != Failed || !res.Drifted || !strings.Contains(res.Err.Error(), "files//etc/b") {
		t.Fatalf("%s %v", res.Status, res.Err)
	}
	if exists(t, filepath.Join(root, "etc/a")) {
		t.Error("something was changed before the drift was noticed")
	}
}

func TestAPlanIsAppliedAsItStands(t *testing.T) {
	file := profileFile(t, twoFiles)
	d, root := folderDevice(t, "lt-1", file)
	saved := &plan.Plan{Devices: []plan.Device{*(&Runner{}).Plan(context.Background(), []Device{d})[0].Plan}}

	write(t, filepath.Join(root, "etc/a"), "drifted\n")
	if res := (&Runner{Expected: saved}).Apply(context.Background(), []Device{d}, nil)[0]; !res.Drifted || exists(t, filepath.Join(root, "etc/b")) {
		t.Errorf("drift was not refused: %s %v", res.Status, res.Err)
	}
	if err := os.Remove(filepath.Join(root, "etc/a")); err != nil {
		t.Fatal(err)
	}
	other, _ := folderDevice(t, "lt-1", profileFile(t, strings.Replace(twoFiles, `"a\n"`, `"other\n"`, 1)))
	other.Dial, other.Target = d.Dial, d.Target
	if res := (&Runner{Expected: saved}).Apply(context.Background(), []Device{other}, nil)[0]; !res.Drifted || exists(t, filepath.Join(root, "etc/a")) {
		t.Errorf("a changed profile was not refused: %s %v", res.Status, res.Err)
	}
	if res := (&Runner{Expected: saved}).Apply(context.Background(), []Device{d}, nil)[0]; res.Status != Changed {
		t.Errorf("the plan that holds was refused: %s %v", res.Status, res.Err)
	}
}

func TestOnlyAndSkip(t *testing.T) {
	for _, c := range []struct {
		only, skip []string
		a, b       bool
	}{
		{[]string{"files//etc/b"}, nil, false, true},
		{[]string{"files"}, []string{"files//etc/b"}, true, false},
	} {
		d, root := folderDevice(t, "lt-1", profileFile(t, twoFiles))
		res := (&Runner{Only: c.only, Skip: c.skip}).Apply(context.Background(), []Device{d}, nil)[0]
		if res.Status != Changed || exists(t, filepath.Join(root, "etc/a")) != c.a || exists(t, filepath.Join(root, "etc/b")) != c.b {
			t.Errorf("only %v, skip %v: %s %v", c.only, c.skip, res.Status, res.Err)
		}
	}
	d, _ := folderDevice(t, "lt-1", profileFile(t, twoFiles))
	if res := (&Runner{Only: []string{"file"}}).Plan(context.Background(), []Device{d})[0]; res.Status != Failed {
		t.Errorf("a misspelt --only was accepted: %s", res.Status)
	}
}

// TestWhatFailsTakesAlongWhatHangsOnItAlone: the rest goes on, and the result names the place in the profile.
func TestWhatFailsTakesAlongWhatHangsOnItAlone(t *testing.T) {
	d, root := folderDevice(t, "lt-1", profileFile(t, `profile: broken
files:
  - {path: /etc/passwd/x, content: "can't be\n"}
  - {path: /etc/after, content: "x\n", after: ["files//etc/passwd/x"]}
  - {path: /etc/beside, content: "y\n"}
`))
	res := (&Runner{}).Apply(context.Background(), []Device{d}, nil)[0]
	if res.Status != Failed || res.Counts.Failed != 1 || res.Counts.Skipped != 1 || res.Counts.Changed != 1 {
		t.Fatalf("%s %+v %v", res.Status, res.Counts, res.Err)
	}
	if !strings.Contains(res.Err.Error(), "site.yaml:3:5: files//etc/passwd/x: ") {
		t.Errorf("the error names no place: %v", res.Err)
	}
	if exists(t, filepath.Join(root, "etc/after")) || !exists(t, filepath.Join(root, "etc/beside")) {
		t.Error("the wrong files are there")
	}
}

// hanging is a transport whose programs never say anything.
type hanging struct{}

func (hanging) Start(ctx context.Context, _ transport.Command) (transport.Process, error) {
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { w.CloseWithError(ctx.Err()) })
	return &silent{r, w}, nil
}
func (hanging) Close() error { return nil }

type silent struct {
	r *io.PipeReader
	w *io.PipeWriter
}

func (s *silent) Stdin() io.WriteCloser         { return nopCloser{io.Discard} }
func (s *silent) Stdout() io.Reader             { return s.r }
func (s *silent) Wait() (transport.Exit, error) { return transport.Exit{}, nil }
func (s *silent) Kill() error                   { return s.w.Close() }

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func TestADeviceThatNeverAnswersIsGivenUp(t *testing.T) {
	defer func(d time.Duration) { hello = d }(hello)
	hello = 50 * time.Millisecond
	d, _ := folderDevice(t, "bad", profileFile(t, twoFiles))
	d.Dial = func(context.Context) (transport.Transport, error) { return hanging{}, nil }
	if res := (&Runner{}).Plan(context.Background(), []Device{d})[0]; res.Status != Unreachable {
		t.Errorf("%s %v", res.Status, res.Err)
	}
}

// TestADeviceThatHangsDelaysNobody has one slot and a device that holds it for ever.
func TestADeviceThatHangsDelaysNobody(t *testing.T) {
	good, _ := folderDevice(t, "good", profileFile(t, twoFiles))
	bad := good
	bad.Name = "bad"
	bad.Dial = func(context.Context) (transport.Transport, error) { return hanging{}, nil }
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := map[string]Status{}
	r := &Runner{Parallel: 1, Report: func(e Event) {
		if e.Result != nil {
			done[e.Device] = e.Result.Status
			if e.Device == "good" {
				cancel() // the other one would wait for ever
			}
		}
	}}
	r.Apply(ctx, []Device{bad, good}, nil)
	if done["good"] != Changed {
		t.Errorf("the good device ended as %s", done["good"])
	}
}

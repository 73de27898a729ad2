package cli

import (
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
	gossh "golang.org/x/crypto/ssh"

	"github.com/fitout-dev/fitout/engine/run"
	"github.com/fitout-dev/fitout/engine/transport/sshserver"
)

var update = flag.Bool("update", false, "write what is printed into the scripts")

// roots is where the folders are that play devices; set for the command in tests, so that no script touches this machine.
const roots = "TEST_ROOTS"

// leakless fails where goroutines are left when all tests have ended.
type leakless struct{ *testing.M }

func (m leakless) Run() int {
	code := m.M.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

func TestMain(m *testing.M) {
	testscript.Main(leakless{m}, map[string]func(){"fitout": func() {
		dir := os.Getenv(roots)
		if dir == "" {
			fmt.Fprintln(os.Stderr, roots+" is not set")
			os.Exit(99)
		}
		retarget = func(device string, t run.Target) run.Target {
			t.Root, t.Dir = filepath.Join(dir, device), filepath.Join(dir, ".kept", device)
			return t
		}
		os.Exit(Main())
	}})
}

// TestScripts types commands as a user does. Beside testscript's commands there are
//
//	devices NAME...     start an SSH server for each, whose root is the folder root/NAME; add them to devices.yaml, an
//	                    inventory without profiles, and their host keys to the known ones; $NAME is its --device
//	strangers NAME...   the same, but their host keys aren't known
//	rekey NAME          the device gets another host key than the one that is known
//	gone NAME           the device's server ends
//	certified NAME...   start an HTTPS server with a certificate that nobody knows for each; $NAME is its --device, by winrm
//	exits N fitout ...  run the command, which must end with this status
//	normal              write stdout and stderr to stdout.txt and stderr.txt, without what differs from run to run
func TestScripts(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("devices are folders behind a POSIX shell")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	var keep []string
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOFLAGS", "GOPROXY", "GOTOOLCHAIN"} {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		keep = append(keep, name+"="+strings.TrimSpace(string(out)))
	}
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup: func(e *testscript.Env) error {
			home := filepath.Join(e.WorkDir, "home")
			e.Vars = append(e.Vars, keep...)
			e.Setenv("HOME", home)
			e.Setenv("XDG_CACHE_HOME", cache)
			e.Setenv("TZ", "UTC")
			e.Setenv("TERM", "xterm")
			e.Setenv(roots, filepath.Join(e.WorkDir, "root"))
			l := &laboratory{work: e.WorkDir, home: home, servers: map[string]*sshserver.Server{}}
			e.Values["lab"] = l
			e.Defer(l.close)
			return l.identity()
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"devices":   func(ts *testscript.TestScript, _ bool, args []string) { theLab(ts).start(ts, args, true) },
			"strangers": func(ts *testscript.TestScript, _ bool, args []string) { theLab(ts).start(ts, args, false) },
			"rekey": func(ts *testscript.TestScript, _ bool, args []string) {
				l := theLab(ts)
				old := l.servers[args[0]]
				ts.Check(old.Close())
				l.start(ts, args, false)
				l.know(ts, l.servers[args[0]].Address(), old.HostKey())
			},
			"gone": func(ts *testscript.TestScript, _ bool, args []string) { ts.Check(theLab(ts).servers[args[0]].Close()) },
			"certified": func(ts *testscript.TestScript, _ bool, args []string) {
				for _, name := range args {
					s := httptest.NewUnstartedServer(http.NotFoundHandler())
					s.Config.ErrorLog = log.New(io.Discard, "", 0)
					s.StartTLS()
					ts.Defer(s.Close)
					ts.Setenv(strings.ReplaceAll(name, "-", "_"), "winrm://tester@"+s.Listener.Addr().String())
				}
			},
			"exits":  exits,
			"normal": normal,
		},
	})
}

// laboratory is the servers of one script.
type laboratory struct {
	work, home string
	key        gossh.PublicKey
	servers    map[string]*sshserver.Server
	addresses  []string // NAME address:port, in order
}

func theLab(ts *testscript.TestScript) *laboratory { return ts.Value("lab").(*laboratory) }

// identity makes the key that logs in everywhere, in the place where ssh looks for one.
func (l *laboratory) identity() error {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	block, err := gossh.MarshalPrivateKey(key, "")
	if err != nil {
		return err
	}
	signer, err := gossh.NewSignerFromKey(key)
	if err != nil {
		return err
	}
	l.key = signer.PublicKey()
	if err := os.MkdirAll(filepath.Join(l.home, ".ssh"), 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(l.home, ".ssh", "id_ed25519"), pem.EncodeToMemory(block), 0o600)
}

func (l *laboratory) start(ts *testscript.TestScript, names []string, known bool) {
	for _, name := range append([]string{"127.0.0.1"}, names...) { // that is what devices are called that have no name
		root := filepath.Join(l.work, "root", name)
		for path, text := range map[string]string{
			"etc/os-release": "ID=debian\nVERSION_ID=\"12\"\n",
			"etc/passwd":     "root:x:0:0:root:/root:/bin/sh\n",
			"etc/group":      "root:x:0:\n",
			"etc/hosts":      "127.0.0.1 localhost\n",
			"etc/motd":       "Welcome.\n",
		} {
			file := filepath.Join(root, path)
			if _, err := os.Stat(file); err == nil {
				continue
			}
			ts.Check(os.MkdirAll(filepath.Dir(file), 0o755))
			ts.Check(os.WriteFile(file, []byte(text), 0o644))
		}
	}
	for _, name := range names {
		s, err := sshserver.Start(sshserver.Options{AuthorizedKey: l.key, SFTP: true})
		ts.Check(err)
		if old := l.servers[name]; old == nil {
			l.addresses = append(l.addresses, name)
		}
		l.servers[name] = s
		ts.Setenv(strings.ReplaceAll(name, "-", "_"), "ssh://tester@"+s.Address())
		if known {
			l.know(ts, s.Address(), s.HostKey())
		}
	}
	var b strings.Builder
	b.WriteString("devices:\n")
	for _, name := range l.addresses {
		_, port, _ := net.SplitHostPort(l.servers[name].Address())
		fmt.Fprintf(&b, "  %s: {address: 127.0.0.1, user: tester, profile: site, groups: [all-%.2s], connect: {port: %s}}\n", name, name, port)
	}
	ts.Check(os.WriteFile(filepath.Join(l.work, "devices.yaml"), []byte(b.String()), 0o644))
}

// know makes a host key the one that an address has.
func (l *laboratory) know(ts *testscript.TestScript, address, key string) {
	file := filepath.Join(l.home, ".config", "fitout", "known_hosts")
	ts.Check(os.MkdirAll(filepath.Dir(file), 0o700))
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	ts.Check(err)
	host, port, err := net.SplitHostPort(address)
	ts.Check(err)
	_, err = fmt.Fprintf(f, "[%s]:%s %s", host, port, key)
	ts.Check(errors.Join(err, f.Close()))
}

func (l *laboratory) close() {
	for _, s := range l.servers {
		s.Close()
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND [ARGUMENT...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit status %d, not %d", got, want)
	}
}

var differs = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\d{8}-\d{6}-[0-9a-f]{6}`), "RUN"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "127.0.0.1:PORT"},
	{regexp.MustCompile(`SHA256:[0-9a-f]{64}`), "SHA256:CERT"},
	{regexp.MustCompile(`SHA256:[A-Za-z0-9+/]{43}`), "SHA256:KEY"},
	{regexp.MustCompile(`by \S+ from \S+,`), "by ME from HERE,"},
	{regexp.MustCompile(`whether \d+ is`), "whether PORT is"},
	{regexp.MustCompile(`\d+(\.\d+)? ?m?s\b`), "N s"},
	{regexp.MustCompile(`"seconds":[0-9.e-]+`), `"seconds":N`},
	{regexp.MustCompile(`"(digest|shape)":"[0-9a-f]+"`), `"$1":"HASH"`},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?`), "TIME"},
}

func normal(ts *testscript.TestScript, _ bool, _ []string) {
	for _, stream := range []string{"stdout", "stderr"} {
		text := strings.ReplaceAll(ts.ReadFile(stream), ts.Getenv("WORK"), "$WORK")
		for _, d := range differs {
			text = d.what.ReplaceAllString(text, d.with)
		}
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n" // as all files of a script have
		}
		ts.Check(os.WriteFile(ts.MkAbs(stream+".txt"), []byte(text), 0o644))
	}
}

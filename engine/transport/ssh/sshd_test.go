package ssh

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"
)

// sshd is a real OpenSSH server on the loopback interface, with its own configuration and keys.
type sshd struct {
	dir     string
	address string
	user    string
	host    map[string]key // its host keys by type
	client  key            // may log in
}

// startSSHD starts one; config is put before what the test needs to set itself.
func startSSHD(t testing.TB, config string) *sshd {
	t.Helper()
	binary := findSSHD(t)
	s := &sshd{dir: t.TempDir(), user: localUser(), client: newKey(t, ""), host: map[string]key{}}
	s.host["ed25519"] = newKey(t, "")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	_, port, _ := net.SplitHostPort(s.address)
	l.Close()
	writeFile(t, filepath.Join(s.dir, "authorized_keys"), s.client.line())
	if !strings.Contains(config, "Subsystem") {
		config += "\nSubsystem sftp internal-sftp"
	}
	if !strings.Contains(config, "HostKey ") {
		config += "\nHostKey " + s.host["ed25519"].path
	}
	writeFile(t, filepath.Join(s.dir, "sshd_config"), config+fmt.Sprintf(`
ListenAddress 127.0.0.1:%s
PidFile none
StrictModes no
PermitRootLogin yes
AuthorizedKeysFile %s/authorized_keys
LogLevel VERBOSE
`, port, s.dir))
	cmd := exec.Command(binary, "-D", "-e", "-f", filepath.Join(s.dir, "sshd_config"))
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	listening, ended := make(chan bool), make(chan bool)
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "Server listening") {
				close(listening)
			}
			fmt.Fprintln(&log, lines.Text())
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			<-ended
			t.Logf("sshd: %s", log.String())
		}
	})
	select {
	case <-listening:
	case <-ended:
		t.Fatalf("sshd does not start: %s", log.String())
	case <-time.After(10 * time.Second):
		t.Fatal("sshd does not listen")
	}
	return s
}

func findSSHD(t testing.TB) string {
	t.Helper()
	for _, path := range []string{"/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"} {
		if _, err := os.Stat(path); err == nil {
			if os.Geteuid() == 0 {
				os.MkdirAll("/run/sshd", 0o755) // Debian's sshd insists on it
			}
			return path
		}
	}
	if os.Getenv("FITOUT_LAB") == "required" {
		t.Fatal("no sshd on this machine")
	}
	t.Skip("no sshd on this machine")
	return ""
}

// options log in with the server's own key, which is pinned.
func (s *sshd) options(t testing.TB) Options {
	return Options{Address: s.address, User: s.user, IdentityFile: s.client.path, HostKey: s.host["ed25519"].line(), HomeDir: t.TempDir(), ConfigFile: "none"}
}

// knownHosts writes a known_hosts file and returns options that rely on it.
func (s *sshd) known(t testing.TB, lines ...string) Options {
	o := s.options(t)
	o.HostKey = ""
	o.KnownHosts = filepath.Join(t.TempDir(), "known_hosts")
	writeFile(t, o.KnownHosts, strings.Join(lines, "\n")+"\n")
	return o
}

// name is the server as known_hosts calls it.
func (s *sshd) name() string { return strings.Replace("["+s.address, ":", "]:", 1) }

func keyLine(host string, k gossh.PublicKey) string {
	return host + " " + strings.TrimSpace(string(gossh.MarshalAuthorizedKey(k)))
}

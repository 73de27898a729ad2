package ssh

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/engine/transport/sshserver"
)

func TestUserCertificate(t *testing.T) {
	ca, user := newKey(t, ""), newKey(t, "")
	s := startSSHD(t, "TrustedUserCAKeys "+ca.path+".pub")
	o := s.options(t)
	o.IdentityFile = user.path
	refused(t, o, transport.Auth, gossh.FingerprintSHA256(user.public), "authorized_keys")
	keygen(t, "-q", "-s", ca.path, "-I", "tech", "-n", s.user, user.path+".pub")
	dial(t, o)
	keygen(t, "-q", "-s", ca.path, "-I", "tech", "-n", s.user, "-V", "20200101:20200102", user.path+".pub")
	refused(t, o, transport.Auth, "has expired on 2020-01-0", "")
}

func TestEncryptedKey(t *testing.T) {
	s := startSSHD(t, "PasswordAuthentication no\nKbdInteractiveAuthentication no")
	locked := newKey(t, "correct horse")
	writeFile(t, filepath.Join(s.dir, "authorized_keys"), locked.line())
	o := s.options(t)
	o.IdentityFile = locked.path
	refused(t, o, transport.Auth, "is encrypted: nobody can be asked", "")

	var mu sync.Mutex
	asked := 0
	answers := []string{"wrong", "correct horse"}
	o.Timeout = 2 * time.Second // must not run while the person thinks
	o.Prompt = func(_ context.Context, question string, echo bool) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if echo || !strings.Contains(question, locked.path) {
			t.Errorf("asked %q, echo %v", question, echo)
		}
		asked++
		return answers[min(asked, len(answers))-1], nil
	}
	d := newDialer()
	var all sync.WaitGroup
	for range 5 { // one answer is enough for many devices
		all.Go(func() {
			tr, err := d.Dial(t.Context(), o)
			if err != nil {
				t.Error(err)
				return
			}
			tr.Close()
		})
	}
	all.Wait()
	if asked != 2 {
		t.Errorf("asked %d times, want 2", asked)
	}

	// A key that the device doesn't accept isn't asked for.
	writeFile(t, filepath.Join(s.dir, "authorized_keys"), "")
	asked = 0
	refused(t, o, transport.Auth, "refused: key "+locked.path, "")
	if asked > 0 {
		t.Errorf("asked %d times for a key that is of no use", asked)
	}
}

func TestAgent(t *testing.T) {
	s := startSSHD(t, "MaxAuthTries 4")
	ring := agent.NewKeyring()
	socket := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() { l.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { agent.ServeAgent(ring, c); c.Close() })
		}
	})
	t.Setenv("SSH_AUTH_SOCK", socket)
	add := func(k key) { ring.Add(agent.AddedKey{PrivateKey: &k.raw}) }
	o := s.options(t)
	o.IdentityFile = ""
	add(newKey(t, ""))
	refused(t, o, transport.Auth, "agent's key", "")
	add(s.client)
	dial(t, o)

	// An encrypted key that the agent holds needs no passphrase; a public key is enough to name one.
	locked := newKey(t, "secret")
	writeFile(t, filepath.Join(s.dir, "authorized_keys"), locked.line())
	add(locked)
	o.IdentityFile = locked.path
	dial(t, o)
	o.IdentityFile = locked.path + ".pub"
	dial(t, o)

	// With many keys the named one must go first, or sshd gives up before it comes.
	for range 6 {
		ring.Remove(locked.public)
		add(newKey(t, ""))
	}
	add(locked)
	dial(t, o)
	o.IdentityFile = ""
	refused(t, o, transport.Auth, "too many", "identityFile")
	config := filepath.Join(t.TempDir(), "config")
	writeFile(t, config, "Host *\n IdentitiesOnly yes\n IdentityFile "+s.client.path+"\n")
	o.ConfigFile = config
	refused(t, o, transport.Auth, gossh.FingerprintSHA256(s.client.public), "")
}

func TestPasswords(t *testing.T) {
	const password = "pässword"
	var tried []string
	var mu sync.Mutex
	log := func(method string) {
		mu.Lock()
		tried = append(tried, method)
		mu.Unlock()
	}
	check := func(given string) (*gossh.Permissions, error) {
		if given != password {
			return nil, errors.New("no")
		}
		return nil, nil
	}
	byPassword := func(c *gossh.ServerConfig) {
		c.PasswordCallback = func(_ gossh.ConnMetadata, p []byte) (*gossh.Permissions, error) {
			log("password")
			return check(string(p))
		}
	}
	byKeyboard := func(c *gossh.ServerConfig) {
		c.KeyboardInteractiveCallback = func(_ gossh.ConnMetadata, ask gossh.KeyboardInteractiveChallenge) (*gossh.Permissions, error) {
			log("keyboard-interactive")
			a, err := ask("", "", []string{"Password: "}, []bool{false})
			if err != nil {
				return nil, err
			}
			return check(a[0])
		}
	}
	options := func(t *testing.T, configure func(*gossh.ServerConfig)) Options {
		s := startServer(t, sshserver.Options{Configure: configure})
		return Options{Address: s.Address(), User: "admin", HostKey: s.HostKey(), HomeDir: t.TempDir(), ConfigFile: "none"}
	}
	give := func(p string) func() (string, error) { return func() (string, error) { return p, nil } }
	for _, configure := range []func(*gossh.ServerConfig){byPassword, byKeyboard} {
		o := options(t, configure)
		refused(t, o, transport.Auth, "neither a key nor a password", "")
		o.Password = give(password)
		dial(t, o)
		o.Password = give("wrong")
		refused(t, o, transport.Auth, "admin may not log in; refused:", "check the user and the password")
		o.Password = nil
		o.Prompt = func(_ context.Context, question string, echo bool) (string, error) {
			if echo || !strings.Contains(strings.ToLower(question), "password") {
				t.Errorf("asked %q, echo %v", question, echo)
			}
			return password, nil
		}
		dial(t, o)
	}
	// A password that was configured goes before keys that weren't: they only cost round trips.
	tried = nil
	o := options(t, func(c *gossh.ServerConfig) {
		byPassword(c)
		c.PublicKeyCallback = func(gossh.ConnMetadata, gossh.PublicKey) (*gossh.Permissions, error) {
			log("publickey")
			return nil, errors.New("no")
		}
	})
	k := newKey(t, "")
	writeFile(t, filepath.Join(o.HomeDir, ".ssh", "id_ed25519"), readFile(t, k.path))
	o.Password = give(password)
	dial(t, o)
	if !slices.Equal(tried, []string{"password"}) {
		t.Errorf("tried %v, want the password alone", tried)
	}
	// A server may want both.
	o = options(t, func(c *gossh.ServerConfig) {
		c.PublicKeyCallback = func(gossh.ConnMetadata, gossh.PublicKey) (*gossh.Permissions, error) {
			next := gossh.ServerConfig{}
			byKeyboard(&next)
			return nil, &gossh.PartialSuccessError{Next: gossh.ServerAuthCallbacks{KeyboardInteractiveCallback: next.KeyboardInteractiveCallback}}
		}
	})
	o.IdentityFile, o.Password = k.path, give(password)
	dial(t, o)
}

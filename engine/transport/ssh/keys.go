package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// Prompt asks whoever sits at the terminal. echo says whether the answer may be seen.
type Prompt func(ctx context.Context, question string, echo bool) (string, error)

// prompting makes sure that one question is asked at a time, however many devices are being dialled.
var prompting sync.Mutex

var errNoPrompt = errors.New("nobody can be asked")

func (p Prompt) ask(ctx context.Context, question string, echo bool) (string, error) {
	if p == nil {
		return "", errNoPrompt
	}
	prompting.Lock()
	defer prompting.Unlock()
	if err := ctx.Err(); err != nil {
		return "", err
	}
	return p(ctx, question, echo)
}

// keyFile is a parsed identity file. It is shared by all devices that use it.
type keyFile struct {
	path string
	pub  gossh.PublicKey    // nil where an encrypted file doesn't tell, and no .pub file does
	cert *gossh.Certificate // from path-cert.pub
	raw  []byte             // the encrypted file

	asking sync.Mutex // held while a person is asked for the passphrase
	mu     sync.Mutex
	signer gossh.Signer // nil as long as the file is locked; always nil if only the public half is there
}

func (k *keyFile) unlocked() gossh.Signer {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.signer
}

// loadKeyFile reads an identity with its certificate. An error that is fs.ErrNotExist says there is none.
func loadKeyFile(path string, read func(string) ([]byte, error)) (*keyFile, error) {
	k := &keyFile{path: path}
	text, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("identity file: %w", err)
	}
	pubText, _ := read(path + ".pub")
	certText, _ := read(path + "-cert.pub")

	signer, err := gossh.ParsePrivateKey(text)
	missing, encrypted := errors.AsType[*gossh.PassphraseMissingError](err)
	switch {
	case err == nil:
		k.signer, k.pub = signer, signer.PublicKey()
	case encrypted:
		k.raw, k.pub = text, missing.PublicKey
		if k.pub == nil {
			k.pub = parsePublic(pubText)
		}
	default:
		// A public key alone names one that the agent holds.
		if k.pub = parsePublic(text); k.pub == nil {
			return nil, fmt.Errorf("identity file %s: %w", path, err)
		}
	}
	k.useCertificate(certText)
	return k, nil
}

func parsePublic(text []byte) gossh.PublicKey {
	key, _, _, _, err := gossh.ParseAuthorizedKey(text)
	if err != nil {
		return nil
	}
	return key
}

func (k *keyFile) useCertificate(text []byte) bool {
	cert, ok := parsePublic(text).(*gossh.Certificate)
	if !ok || k.pub == nil || !equalKeys(cert.Key, k.pub) {
		return false
	}
	k.cert = cert
	return true
}

// unlock returns the private key, asking for the passphrase where there is need to. Devices that come meanwhile wait for
// the one answer.
func (k *keyFile) unlock(ctx context.Context, prompt Prompt) (gossh.Signer, error) {
	k.asking.Lock()
	defer k.asking.Unlock()
	if s := k.unlocked(); s != nil {
		return s, nil
	}
	for range 3 {
		pass, err := prompt.ask(ctx, fmt.Sprintf("Passphrase of the key %s: ", k.path), false)
		if err != nil {
			return nil, fmt.Errorf("the key %s is encrypted: %w", k.path, err)
		}
		signer, err := gossh.ParsePrivateKeyWithPassphrase(k.raw, []byte(pass))
		if err == nil {
			k.mu.Lock()
			k.signer = signer
			k.mu.Unlock()
			return signer, nil
		}
	}
	return nil, fmt.Errorf("the key %s is encrypted: the passphrase is wrong", k.path)
}

// lockedKey is a signer that asks for the passphrase only once the device has said that it accepts the key.
type lockedKey struct {
	file   *keyFile
	unlock func(*keyFile) (gossh.Signer, error)
}

func (l lockedKey) PublicKey() gossh.PublicKey { return l.file.pub }

func (l lockedKey) Sign(rand io.Reader, data []byte) (*gossh.Signature, error) {
	return l.SignWithAlgorithm(rand, data, "")
}

func (l lockedKey) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*gossh.Signature, error) {
	s, err := l.unlock(l.file)
	if err != nil {
		return nil, err
	}
	if as, ok := s.(gossh.AlgorithmSigner); ok && algorithm != "" {
		return as.SignWithAlgorithm(rand, data, algorithm)
	}
	return s.Sign(rand, data)
}

// agentConn is the user's agent, connected to when first needed.
type agentConn struct {
	socket string
	once   sync.Once
	conn   io.Closer
	keys   []gossh.Signer
	err    error
}

func (a *agentConn) list() ([]gossh.Signer, error) {
	a.once.Do(func() {
		if a.socket == "" {
			return
		}
		conn, err := dialAgent(a.socket)
		if a.socket == defaultAgent && isMissing(err) {
			return // no agent runs, and nobody said so
		}
		if err != nil {
			a.err = fmt.Errorf("the agent at %s: %w", a.socket, err)
			return
		}
		a.conn = conn
		a.keys, a.err = agent.NewClient(conn).Signers()
	})
	return a.keys, a.err
}

// find returns the agent's signer for a key, or nil.
func (a *agentConn) find(key gossh.PublicKey) gossh.Signer {
	keys, _ := a.list()
	for _, s := range keys {
		if equalKeys(s.PublicKey(), key) {
			return s
		}
	}
	return nil
}

func (a *agentConn) close() {
	if a.conn != nil {
		a.conn.Close()
	}
}

// signers are what a key file offers: with its certificate first, then plainly. note says what may be amiss with it.
func (k *keyFile) signers(a *agentConn, unlock func(*keyFile) (gossh.Signer, error)) (ss []gossh.Signer, note error) {
	base := k.unlocked()
	if base == nil && k.pub != nil {
		base = a.find(k.pub)
		if base == nil && k.raw != nil {
			base = lockedKey{k, unlock}
		}
	}
	if base == nil && k.raw != nil {
		var err error
		if base, err = unlock(k); err != nil {
			return nil, nil // unlock has noted it
		}
	}
	if base == nil {
		return nil, fmt.Errorf("%s is a public key, and the agent doesn't hold the private one", k.path)
	}
	if k.cert != nil {
		if before := k.cert.ValidBefore; before != gossh.CertTimeInfinity && time.Now().Unix() >= int64(before) {
			note = fmt.Errorf("the certificate %s-cert.pub has expired on %s", k.path, time.Unix(int64(before), 0).Format(time.DateTime))
		} else if s, err := gossh.NewCertSigner(k.cert, base); err == nil {
			ss = append(ss, s)
		}
	}
	return append(ss, base), note
}

// isMissing tells an identity file that isn't there from one that is broken.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

package run

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/engine/profile"
	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/engine/transport"
)

// narrow is a transport that a device had better fetch its contents past. Sent is what goes through it.
type narrow struct {
	transport.Transport
	here netip.Addr
	sent *atomic.Int64
}

func (n *narrow) Here() netip.Addr { return n.here }

func (n *narrow) Start(ctx context.Context, cmd transport.Command) (transport.Process, error) {
	p, err := n.Transport.Start(ctx, cmd)
	return &narrowProcess{p, n.sent}, err
}

type narrowProcess struct {
	transport.Process
	sent *atomic.Int64
}

func (p *narrowProcess) Stdin() io.WriteCloser {
	in := p.Process.Stdin()
	return struct {
		io.Writer
		io.Closer
	}{writer(func(b []byte) (int, error) {
		p.sent.Add(int64(len(b)))
		return in.Write(b)
	}), in}
}

// large is a device that needs two large contents and a small one. How often each was opened is counted; open takes the place
// of what opens the first.
type large struct {
	Device
	root     string
	contents map[string][]byte // by the names of files in /etc
	sent     atomic.Int64      // through the session
	here     netip.Addr
	open     func(ctx context.Context, again bool) (io.ReadCloser, error)
	opened   int
	fetched  int      // how many contents the device has fetched
	said     []string // warnings
}

const first = "etc/a"

func newLarge(t *testing.T, text string) *large {
	l := &large{here: netip.MustParseAddr("127.0.0.1"), contents: map[string][]byte{first: nil, "etc/b": nil, "etc/small": []byte("small\n")}}
	p := profileFile(t, text)
	for name, b := range l.contents {
		if b == nil {
			b = make([]byte, 3*worthPulling)
			rand.Read(b)
			l.contents[name] = b
		}
		write(t, filepath.Join(filepath.Dir(p), filepath.Base(name)), string(b))
	}
	l.Device, l.root = folderDevice(t, "lt-1", p)
	dial := l.Dial
	l.Dial = func(ctx context.Context) (transport.Transport, error) {
		inner, err := dial(ctx)
		return &narrow{inner, l.here, &l.sent}, err
	}
	if res := new(Runner).Plan(t.Context(), []Device{l.Device})[0]; res.Status != Pending { // the executor is there from now on
		t.Fatalf("plan: %s %v", res.Status, res.Err)
	}
	l.sent.Store(0)
	return l
}

const threeFiles = `profile: three
files:
  - {path: /etc/a, source: a}
  - {path: /etc/b, source: b}
  - {path: /etc/small, source: small}
`

func (l *large) apply(ctx context.Context, t *testing.T) Result {
	t.Helper()
	compile := l.Compile
	d := l.Device
	d.Compile = func(facts map[string]any) (*profile.Compiled, error) {
		c, err := compile(facts)
		if err != nil {
			return nil, err
		}
		for hash, content := range c.Blobs {
			open := content.Open
			content.Open = func() (io.ReadCloser, error) {
				f, err := open()
				if err != nil || l.open == nil {
					return f, err
				}
				if b, err := io.ReadAll(f); err != nil || !bytes.Equal(b, l.contents[first]) {
					return io.NopCloser(bytes.NewReader(b)), err
				}
				l.opened++
				return l.open(ctx, l.opened > 1)
			}
			c.Blobs[hash] = content
		}
		return c, nil
	}
	r := &Runner{Report: func(e Event) {
		if e.Event != nil && e.Event.Level == "WARN" {
			l.said = append(l.said, e.Event.Text)
		}
		if e.Event != nil && strings.Contains(e.Event.Text, "has fetched content") {
			l.fetched++
		}
	}}
	res := r.Apply(ctx, []Device{d}, nil)[0]
	if _, _, err := r.offers.Offer(l.here, wire.Blob{}, nil); err == nil {
		t.Error("contents are offered after the run")
	}
	return res
}

func (l *large) converged(t *testing.T, res Result) {
	t.Helper()
	if res.Status != Changed || res.Err != nil {
		t.Fatalf("%s %v", res.Status, res.Err)
	}
	for name, want := range l.contents {
		if b, err := os.ReadFile(filepath.Join(l.root, name)); err != nil || !bytes.Equal(b, want) {
			t.Errorf("%s holds %d bytes: %v", name, len(b), err)
		}
	}
}

// sentLarge checks how many of the large contents went through the session.
func (l *large) sentLarge(t *testing.T, want int64) {
	t.Helper()
	if n := l.sent.Load() / int64(len(l.contents[first])); n != want {
		t.Errorf("%d large contents were sent (%d bytes), not %d", n, l.sent.Load(), want)
	}
}

// warned checks how many warnings there were, and what the first says.
func (l *large) warned(t *testing.T, n int, words string) {
	t.Helper()
	if len(l.said) != n || n > 0 && !strings.Contains(l.said[0], words) {
		t.Errorf("it warns %q", l.said)
	}
}

func TestLargeContentsArePulled(t *testing.T) {
	l := newLarge(t, threeFiles)
	l.converged(t, l.apply(t.Context(), t))
	l.sentLarge(t, 0)
	l.warned(t, 0, "")
	if l.fetched != 2 {
		t.Errorf("%d contents were fetched", l.fetched)
	}
	if res := l.apply(t.Context(), t); res.Status != Converged {
		t.Errorf("again: %s %v", res.Status, res.Err)
	}
}

func TestContentsThatAreSent(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*large)
		warns  int
	}{
		"pulling is forbidden":   {func(l *large) { l.NoPull = true }, 0},
		"there is no way to us":  {func(l *large) { l.here = netip.Addr{} }, 0},
		"the address isn't ours": {func(l *large) { l.here = netip.MustParseAddr("192.0.2.1") }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLarge(t, threeFiles)
			c.change(l)
			l.converged(t, l.apply(t.Context(), t))
			l.sentLarge(t, 2)
			l.warned(t, c.warns, "192.0.2.1")
		})
	}
}

// TestWhatCantBePulledIsSent: the first content that can't be had so is sent, and all others with it.
func TestWhatCantBePulledIsSent(t *testing.T) {
	for name, open := range map[string]func(l *large) (io.ReadCloser, error){
		"can't be opened": func(*large) (io.ReadCloser, error) { return nil, errors.New("too many open files") },
		"cut half-way": func(l *large) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(l.contents[first][:worthPulling])), nil
		},
		"damaged": func(l *large) (io.ReadCloser, error) {
			b := bytes.Clone(l.contents[first])
			b[len(b)/2] ^= 1
			return io.NopCloser(bytes.NewReader(b)), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLarge(t, threeFiles)
			l.open = func(_ context.Context, again bool) (io.ReadCloser, error) {
				if again {
					return io.NopCloser(bytes.NewReader(l.contents[first])), nil
				}
				return open(l)
			}
			l.converged(t, l.apply(t.Context(), t))
			if l.opened != 2 {
				t.Errorf("it was opened %d times", l.opened)
			}
			l.sentLarge(t, int64(2-l.fetched)) // the other one may have come before
			l.warned(t, 1, "127.0.0.1:")
		})
	}
}

// TestASecretIsNotPulled however large it is.
func TestASecretIsNotPulled(t *testing.T) {
	l := newLarge(t, threeFiles)
	b := make([]byte, worthPulling)
	rand.Read(b)
	text := hex.EncodeToString(b)
	p := profileFile(t, "profile: secret\nfiles: [{path: /etc/a, content: '${secrets.a}', mode: '0600'}]\n")
	loader := &profile.Loader{Secrets: one(text)}
	l.Compile = func(facts map[string]any) (*profile.Compiled, error) {
		p, err := loader.Load(p)
		if err != nil {
			return nil, err
		}
		return p.Compile(profile.Device{Name: "lt-1", Facts: facts})
	}
	l.contents = map[string][]byte{first: []byte(text)}
	l.converged(t, l.apply(t.Context(), t))
	if l.fetched != 0 {
		t.Error("it was pulled")
	}
}

// one is a source of one secret.
type one string

func (o one) Get(string) (secret.Value, error) { return secret.New(string(o)), nil }
func (o one) Names() []string                  { return []string{"a"} }

// TestPullingIsCancelled at once, in the middle of a content.
func TestPullingIsCancelled(t *testing.T) {
	l := newLarge(t, threeFiles)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l.open = func(ctx context.Context, _ bool) (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(l.contents[first][:worthPulling]), reader(func([]byte) (int, error) {
			cancel()
			<-ctx.Done()
			return 0, ctx.Err()
		}))), nil
	}
	res := l.apply(ctx, t)
	if res.Status != Cancelled || l.opened != 1 {
		t.Errorf("%s %v; it was opened %d times", res.Status, res.Err, l.opened)
	}
	if exists(t, filepath.Join(l.root, first)) {
		t.Error("it was changed all the same")
	}
}

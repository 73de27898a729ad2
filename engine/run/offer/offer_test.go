package offer

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fitout-dev/fitout/engine/executor/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var here = netip.MustParseAddr("127.0.0.1")

// patience bounds every wait of these tests.
const patience = 20 * time.Second

func content(b []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

func newServer(t *testing.T) *Server {
	s := New()
	t.Cleanup(s.Close)
	return s
}

// client keeps no connections.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}, Timeout: patience}

func get(t *testing.T, p wire.Pull) *http.Response {
	t.Helper()
	r, err := client.Get("http://" + p.Address + "/" + p.Token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Body.Close() })
	return r
}

// fetch is what a device does.
func fetch(t *testing.T, p wire.Pull) ([]byte, error) {
	t.Helper()
	r := get(t, p)
	if r.StatusCode != http.StatusOK {
		return nil, errors.New(r.Status)
	}
	plain, err := wire.Unseal(r.Body, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	c := wire.NewConn(plain, nil)
	m, err := c.Receive()
	if err != nil {
		return nil, err
	}
	if m.Blob == nil || *m.Blob != p.Blob {
		t.Errorf("announced: %+v", m)
	}
	var got bytes.Buffer
	err = c.ReceiveBlob(p.Blob, &got)
	return got.Bytes(), err
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func TestAnOfferIsForOne(t *testing.T) {
	s := newServer(t)
	first, second := random(5<<20), []byte("second")
	p, withdraw, err := s.Offer(here, wire.Blob{Hash: "first", Size: int64(len(first))}, content(first))
	if err != nil {
		t.Fatal(err)
	}
	defer withdraw()
	p2, withdraw2, err := s.Offer(here, wire.Blob{Hash: "second", Size: int64(len(second))}, content(second))
	if err != nil {
		t.Fatal(err)
	}
	if p.Address != p2.Address || p.Token == p2.Token || bytes.Equal(p.Key, p2.Key) || len(p.Token) < 50 {
		t.Errorf("%+v and %+v", p, p2)
	}
	for path, method := range map[string]string{"": http.MethodGet, p.Token[1:]: http.MethodGet, p.Token + "/": http.MethodGet, "../" + p.Token: http.MethodGet,
		"first": http.MethodGet, p.Token: http.MethodHead, p2.Token: http.MethodPost} {
		req, _ := http.NewRequest(method, "http://"+p.Address+"/"+path, nil)
		r, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != http.StatusNotFound {
			t.Errorf("%s /%s: %s", method, path, r.Status)
		}
	}
	if got, err := fetch(t, p); err != nil || !bytes.Equal(got, first) {
		t.Errorf("%d bytes came: %v", len(got), err)
	}
	if _, err := fetch(t, p); err == nil || !strings.HasPrefix(err.Error(), "404") {
		t.Errorf("again: %v", err)
	}
	withdraw2()
	if _, err := fetch(t, p2); err == nil || !strings.HasPrefix(err.Error(), "404") {
		t.Errorf("withdrawn: %v", err)
	}
}

// TestAnOfferIsSealed so that what it says is nowhere on the wire.
func TestAnOfferIsSealed(t *testing.T) {
	s := newServer(t)
	text := []byte("confidential")
	p, withdraw, err := s.Offer(here, wire.Blob{Hash: "hash", Size: int64(len(text))}, content(text))
	if err != nil {
		t.Fatal(err)
	}
	defer withdraw()
	b, err := io.ReadAll(get(t, p).Body)
	if err != nil || bytes.Contains(b, text) || bytes.Contains(b, []byte("hash")) {
		t.Errorf("%q %v", b, err)
	}
}

// listening says whether anybody answers.
func listening(address string) bool {
	c, err := net.DialTimeout("tcp", address, patience)
	if err == nil {
		c.Close()
	}
	return err == nil
}

func TestStrangersAreFewOrNothingIsOffered(t *testing.T) {
	s := newServer(t)
	p, withdraw, err := s.Offer(here, wire.Blob{Hash: "x", Size: 1}, content([]byte("x")))
	if err != nil {
		t.Fatal(err)
	}
	defer withdraw()
	for i := range tries {
		if r := get(t, wire.Pull{Address: p.Address, Token: fmt.Sprint(i)}); r.StatusCode != http.StatusNotFound {
			t.Fatal(r.Status)
		}
	}
	if _, _, err := s.Offer(here, wire.Blob{}, content(nil)); err == nil {
		t.Error("more is offered")
	}
	if listening(p.Address) {
		t.Error("it listens still")
	}
}

func TestNothingListensOutsideOfOffers(t *testing.T) {
	s := New()
	p, _, err := s.Offer(here, wire.Blob{}, content(nil))
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(p.Address)
	if !listening(p.Address) {
		t.Error("it doesn't listen")
	}
	if elsewhere := net.JoinHostPort("127.0.0.2", port); listening(elsewhere) {
		t.Errorf("it listens on %s", elsewhere)
	}
	s.Close()
	if listening(p.Address) {
		t.Error("it listens after Close")
	}
	if _, _, err := s.Offer(here, wire.Blob{}, content(nil)); !errors.Is(err, errClosed) {
		t.Errorf("an offer after Close: %v", err)
	}
	s.Close()
	New().Close()
}

func TestAnAddressThatIsNotOurs(t *testing.T) {
	if _, _, err := newServer(t).Offer(netip.MustParseAddr("192.0.2.1"), wire.Blob{}, content(nil)); err == nil {
		t.Error("no error")
	}
}

func TestAContentThatCantBeRead(t *testing.T) {
	s := newServer(t)
	broken := errors.New("the disk is broken")
	for what, open := range map[string]func() (io.ReadCloser, error){
		"to open": func() (io.ReadCloser, error) { return nil, broken },
		"half-way": func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(bytes.NewReader(random(1<<20)), failing{broken})), nil
		},
		"too short": content(random(1 << 20)),
	} {
		p, withdraw, err := s.Offer(here, wire.Blob{Hash: "x", Size: 2 << 20}, open)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := fetch(t, p); err == nil || len(got) >= 2<<20 {
			t.Errorf("%s: %d bytes came, %v", what, len(got), err)
		}
		withdraw()
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// endless is a content that never ends, and that compressing makes no smaller; closed tells that nobody reads it any more.
type endless struct {
	noise  []byte
	closed chan struct{}
}

func (e endless) Read(p []byte) (int, error) { return copy(p, e.noise), nil }
func (e endless) Close() error               { close(e.closed); return nil }

// TestATransferIsEnded of a device that takes nothing of it: when the offer is withdrawn, when all end, and in the end by itself.
func TestATransferIsEnded(t *testing.T) {
	defer func(d time.Duration) { stalling = d }(stalling)
	for what, c := range map[string]struct {
		stalling time.Duration
		end      func(s *Server, withdraw func())
	}{
		"withdrawn": {patience, func(_ *Server, withdraw func()) { withdraw() }},
		"closed":    {patience, func(s *Server, _ func()) { s.Close() }},
		"stalled":   {50 * time.Millisecond, func(*Server, func()) {}},
	} {
		t.Run(what, func(t *testing.T) {
			stalling = c.stalling
			s := New()
			e := endless{random(1 << 20), make(chan struct{})}
			p, withdraw, err := s.Offer(here, wire.Blob{Hash: "x", Size: 1 << 40}, func() (io.ReadCloser, error) { return e, nil })
			if err != nil {
				t.Fatal(err)
			}
			r := get(t, p)
			if _, err := io.ReadFull(r.Body, make([]byte, 1<<10)); err != nil {
				t.Fatal(err)
			}
			c.end(s, withdraw)
			select {
			case <-e.closed:
			case <-time.After(patience / 2):
				t.Error("it goes on")
			}
			s.Close()
		})
	}
}

// TestManyDevices fetch at once, while others are offered and withdrawn.
func TestManyDevices(t *testing.T) {
	s := newServer(t)
	var devices sync.WaitGroup
	for i := range 20 {
		devices.Go(func() {
			b := random(300<<10 + i)
			p, withdraw, err := s.Offer(here, wire.Blob{Hash: fmt.Sprint(i), Size: int64(len(b))}, content(b))
			if err != nil {
				t.Error(err)
				return
			}
			defer withdraw()
			if i%5 == 0 { // it goes away half-way
				ctx, cancel := context.WithCancel(t.Context())
				req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Address+"/"+p.Token, nil)
				if r, err := client.Do(req); err == nil {
					io.ReadFull(r.Body, make([]byte, 1<<10))
					cancel()
					r.Body.Close()
				}
				cancel()
				return
			}
			if got, err := fetch(t, p); err != nil || !bytes.Equal(got, b) {
				t.Errorf("%d: %d bytes, %v", i, len(got), err)
			}
		})
	}
	devices.Wait()
}

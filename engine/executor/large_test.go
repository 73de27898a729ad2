package executor

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
)

// TestALargeContentIsMovedIntoPlace has two files of one content: the first gets the store's file, the second a copy.
func TestALargeContentIsMovedIntoPlace(t *testing.T) {
	text := strings.Repeat("0123456789abcdef", large/16) + "x"
	b, content := blob(text)
	for name, again := range map[string]bool{"in the session it came in": false, "in a later session": true} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t)
			c := connect(t, d)
			c.push(text, wire.Blob{Hash: b.Hash, Size: b.Size})
			stored := filepath.Join(d.dir, "store", b.Hash)
			first, second := resource("files", "/etc/first", content+`,"mode":"0600"`), resource("files", "/etc/second", content+`,"mode":"0644"`)
			if again {
				c.observe(nil, first) // until the content has come
				c = connect(t, d)
			}
			if got := resolved(c.run(doc("r1", first, second))); got != "files//etc/first changed, files//etc/second changed" {
				t.Fatalf("resolved %s", got)
			}
			for path, mode := range map[string]os.FileMode{"etc/first": 0o600, "etc/second": 0o644} {
				p := filepath.Join(d.root, path)
				if got, err := os.ReadFile(p); err != nil || string(got) != text {
					t.Errorf("%s: %v, %d bytes", path, err, len(got))
				}
				if fi, err := os.Stat(p); err != nil || fi.Mode().Perm() != mode {
					t.Errorf("%s: %v %v", path, err, fi.Mode())
				}
			}
			if _, err := os.Stat(stored); !os.IsNotExist(err) {
				t.Errorf("the store holds it still: %v", err)
			}
		})
	}
}

func TestALargeDamagedContentIsNotMoved(t *testing.T) {
	text := strings.Repeat("0123456789abcdef", large/16)
	b, content := blob(text)
	for name, again := range map[string]bool{"in the session it came in": false, "in a later session": true} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t)
			c := connect(t, d)
			r := resource("files", "/etc/x", content)
			c.push(text, wire.Blob{Hash: b.Hash, Size: b.Size})
			c.observe(nil, r)
			if err := os.WriteFile(filepath.Join(d.dir, "store", b.Hash), []byte("f"+text[1:]), 0o600); err != nil {
				t.Fatal(err)
			}
			if again {
				c = connect(t, d)
			}
			e := event(t, c.run(doc("r1", r)), wire.Resolved, r.Address)
			if e.Status != wire.FailedStatus || !strings.Contains(e.Error, "damaged") {
				t.Errorf("%+v", e)
			}
			if _, err := os.Stat(filepath.Join(d.root, "etc/x")); err == nil {
				t.Error("a damaged content was put in place")
			}
		})
	}
}

// TestWhatCameIsHashedOnce also where another process carries the run out, but for one that takes the run up later.
func TestWhatCameIsHashedOnce(t *testing.T) {
	text := strings.Repeat("0123456789abcdef", large/16)
	b, content := blob(text)
	for name, c := range map[string]struct {
		changed, begun bool
		want           bool
	}{"at once": {want: true}, "changed meanwhile": {changed: true}, "later": {begun: true}} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t)
			o := Options{Root: d.root, Dir: d.dir}.complete()
			s := &session{Options: o, store: newContents(filepath.Join(d.dir, "store"))}
			var pipe bytes.Buffer
			if err := wire.NewConn(nil, &pipe).SendBlob(wire.Blob{Hash: b.Hash, Size: b.Size}, strings.NewReader(text)); err != nil {
				t.Fatal(err)
			}
			in := wire.NewConn(&pipe, nil)
			if m, err := in.Receive(); err != nil || s.store.receive(in, *m.Blob) != nil {
				t.Fatal(err)
			}
			run := doc("r1", resource("files", "/etc/x", content))
			if err := s.keep(&run); err != nil {
				t.Fatal(err)
			}
			if stored := filepath.Join(d.dir, "store", b.Hash); c.changed {
				if err := os.Chtimes(stored, time.Time{}, time.Now().Add(time.Second)); err != nil {
					t.Fatal(err)
				}
			}
			l, _, err := acquire(d.dir, wire.Holder{Run: "r1"})
			if err != nil {
				t.Fatal(err)
			}
			r, err := openRunner(t.Context(), o, "r1", l, newContents(filepath.Join(d.dir, "store")))
			if err != nil {
				t.Fatal(err)
			}
			if c.begun {
				r.log.add(wire.Event{Type: wire.Started})
				r.log.leave()
				r.log.wait()
				if r, err = openRunner(t.Context(), o, "r1", l, newContents(filepath.Join(d.dir, "store"))); err != nil {
					t.Fatal(err)
				}
			}
			rc, err := r.store.OpenBlob(b.Hash)
			if err != nil {
				t.Fatal(err)
			}
			defer rc.Close()
			v := rc.(*verified)
			v.sum = nil // which hashing needs
			if got := takenAsItIs(v); got != c.want {
				t.Errorf("taken as it is: %v, not %v", got, c.want)
			}
			r.log.leave()
			r.log.wait()
			l.release()
		})
	}
}

// takenAsItIs says whether a content is taken as whole without being read.
func takenAsItIs(v *verified) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	return v.whole()
}

// TestAnEarlySyncThatFailsIsNotForgotten: the system tells a failed write-back to one sync only.
func TestAnEarlySyncThatFailsIsNotForgotten(t *testing.T) {
	r, w, err := os.Pipe() // which can't be synced
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	go func() {
		defer r.Close()
		io.Copy(io.Discard, r)
	}()
	s := &settling{file: w}
	if _, err := s.Write(make([]byte, settleAt)); err != nil {
		t.Fatal(err)
	}
	if err := s.settle(false); err == nil {
		t.Error("no error")
	}
}

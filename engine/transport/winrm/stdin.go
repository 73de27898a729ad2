package winrm

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/fitout-dev/fitout/engine/transport"
)

// stdin collects what is written while a request is under way, so that many small writes cost few requests. A write that
// fails tells of the one before it, as with any pipe.
type stdin struct {
	p *process

	mu      sync.Mutex
	changed *sync.Cond
	waiting []byte
	closed  bool  // by Close
	sent    bool  // all of it
	err     error // why nothing more is sent
	carried int64
}

// ahead is how much may wait.
const ahead = 1 << 20

func newStdin(p *process) *stdin {
	s := &stdin{p: p}
	s.changed = sync.NewCond(&s.mu)
	return s
}

func (s *stdin) run() {
	go func() {
		select {
		case <-s.p.ended:
		case <-s.p.killed:
		}
		err := io.ErrClosedPipe
		if s.p.isKilled() {
			err = s.afterKill()
		} else if s.p.lost != nil {
			err = s.p.lost
		}
		s.fail(err)
		s.p.cancel()
	}()
	for {
		data, end, ok := s.next()
		if !ok {
			return
		}
		c := s.p.c
		_, err := c.do(s.p.requests, c.requests.send(s.p.shell.id, s.p.command, data, end), slow+leeway)
		if err == nil {
			s.mu.Lock()
			s.carried += int64(len(data))
			s.sent = end
			s.mu.Unlock()
			s.changed.Broadcast()
			c.learnEnvelope(s.p.requests, s.carried)
			continue
		}
		f, ok := errors.AsType[*fault](err)
		switch {
		case ok && (f.noReader() || f.noShell()): // the program has ended, or reads no more; poll learns what happened
			err = io.ErrClosedPipe
		case s.p.requests.Err() != nil:
			err = io.ErrClosedPipe
		case ok && s.p.endsSoon(): // a server may say in many ways that there is nobody to read
			err = io.ErrClosedPipe
		default:
			// What was written is lost: the program must not go on as if it had ended there.
			err = c.explain(err)
			s.fail(err)
			s.p.end(err)
		}
		s.fail(err)
		return
	}
}

// endsSoon waits a moment for the end of the program.
func (p *process) endsSoon() bool {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-p.ended:
		return true
	case <-timer.C:
		return false
	}
}

// afterKill is what writing gives once the program was killed, or the connection closed.
func (s *stdin) afterKill() error {
	if e, ok := errors.AsType[*transport.Error](s.p.cause); ok && e.Kind == transport.Lost {
		return e
	}
	return io.ErrClosedPipe
}

// next is the next piece to send, and whether it is the last.
func (s *stdin) next() (data []byte, end, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.waiting) == 0 && !s.closed && s.err == nil {
		s.changed.Wait()
	}
	if s.err != nil || s.sent {
		return nil, false, false
	}
	n := min(len(s.waiting), sendRoom(int(s.p.c.envelope.Load())))
	data, s.waiting = s.waiting[:n:n], s.waiting[n:]
	s.changed.Broadcast()
	return data, s.closed && len(s.waiting) == 0, true
}

func (s *stdin) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.changed.Broadcast()
}

func (s *stdin) Write(b []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n < len(b) {
		for len(s.waiting) >= ahead && s.err == nil && !s.closed {
			s.changed.Wait()
		}
		switch {
		case s.err != nil:
			return n, s.err
		case s.closed:
			return n, io.ErrClosedPipe
		}
		piece := b[n:min(len(b), n+ahead-len(s.waiting))]
		s.waiting = append(s.waiting, piece...)
		n += len(piece)
		s.changed.Broadcast()
	}
	return n, nil
}

// Close returns once all was sent, and its end.
func (s *stdin) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.changed.Broadcast()
	for !s.sent && s.err == nil {
		s.changed.Wait()
	}
	if e, ok := errors.AsType[*transport.Error](s.err); ok && !s.sent {
		return e
	}
	return nil
}

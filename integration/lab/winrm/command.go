package winrm

import (
	"errors"
	"io"
	"sync"
	"time"
)

// command is a program in a shell, with what it has said and nobody has fetched yet.
type command struct {
	process Process
	typist  *console // what its stdin goes through, nil where it is a pipe

	mu        sync.Mutex
	news      chan struct{} // closed and made anew whenever something changes
	out       [2]stream
	stdin     [][]byte // still to be written
	queued    int
	inClosed  bool // no more may be sent
	receiving bool
	exited    bool
	code      uint32
	ended     bool // by a signal, or with its shell
}

type stream struct {
	name string
	data []byte
	eof  bool
	told bool // its end
}

const (
	maxQueued = 256 << 10 // of stdin; more waits until the program reads
	maxKept   = 1 << 20   // of an output; then the program waits
)

var (
	errTimedOut   = errors.New("timed out")
	errEnded      = errors.New("ended")
	errInProgress = errors.New("in progress")
	errAborted    = errors.New("aborted")
)

// start starts a command and all that moves its streams.
func start(r Runner, line Command, asConsole bool) (*command, error) {
	p, err := r.Start(line)
	if err != nil {
		return nil, err
	}
	c := &command{process: p, news: make(chan struct{}), out: [2]stream{{name: "stdout"}, {name: "stderr"}}}
	if asConsole {
		c.typist = &console{}
	}
	var reading sync.WaitGroup
	for i, from := range []io.Reader{p.Stdout(), p.Stderr()} {
		reading.Go(func() { c.read(i, from) })
	}
	go c.write(p.Stdin())
	go func() {
		reading.Wait()
		code := p.Wait()
		c.change(func() { c.exited, c.code = true, code })
	}()
	return c, nil
}

func (c *command) change(f func()) {
	c.mu.Lock()
	f()
	close(c.news)
	c.news = make(chan struct{})
	c.mu.Unlock()
}

func (c *command) read(i int, from io.Reader) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			c.change(func() { c.out[i].data = append(c.out[i].data, buf[:n]...) })
		}
		if err != nil {
			c.change(func() { c.out[i].eof = true })
			return
		}
		for { // the program waits while nobody fetches
			c.mu.Lock()
			full, news := len(c.out[i].data) >= maxKept && !c.ended, c.news
			c.mu.Unlock()
			if !full {
				break
			}
			<-news
		}
	}
}

// write hands to the program what was sent to it.
func (c *command) write(to io.WriteCloser) {
	defer to.Close()
	for {
		c.mu.Lock()
		var next []byte
		last := c.inClosed && len(c.stdin) == 0 || c.exited || c.ended
		if len(c.stdin) > 0 {
			next = c.stdin[0]
			c.stdin = c.stdin[1:]
		}
		news := c.news
		c.mu.Unlock()
		switch {
		case next != nil:
			_, err := to.Write(next)
			c.change(func() {
				c.queued -= len(next)
				if err != nil {
					c.inClosed, c.stdin, c.queued = true, nil, 0
				}
			})
			if err != nil {
				return
			}
		case last:
			return
		default:
			<-news
		}
	}
}

// type_ takes what is sent, as soon as there is room for it.
func (c *command) type_(data []byte, end bool, late <-chan time.Time, gone <-chan struct{}) error {
	for {
		c.mu.Lock()
		news := c.news
		switch {
		case c.exited || c.ended || c.inClosed:
			c.mu.Unlock()
			return errEnded
		case c.queued < maxQueued:
			c.mu.Unlock()
			c.change(func() {
				if c.typist != nil {
					var eof bool
					data, eof = c.typist.typed(data)
					end = end || eof
				}
				if len(data) > 0 {
					c.stdin = append(c.stdin, data)
					c.queued += len(data)
				}
				c.inClosed = c.inClosed || end
			})
			return nil
		}
		c.mu.Unlock()
		select {
		case <-news:
		case <-late:
			return errTimedOut
		case <-gone:
			return errAborted
		}
	}
}

// taken is what one Receive gets.
type taken struct {
	streams []struct {
		name string
		data []byte
		end  bool
	}
	done bool
	code uint32
}

// take waits until there is something to tell, and returns at most so many bytes of it.
func (c *command) take(most int, late <-chan time.Time, gone <-chan struct{}) (*taken, error) {
	c.mu.Lock()
	if c.receiving {
		c.mu.Unlock()
		return nil, errInProgress
	}
	c.receiving = true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.receiving = false
		c.mu.Unlock()
	}()
	for {
		c.mu.Lock()
		t, news := c.collect(most), c.news
		aborted := c.ended && !t.done
		c.mu.Unlock()
		switch {
		case aborted:
			return nil, errAborted
		case len(t.streams) > 0 || t.done:
			c.change(func() {}) // there is room again
			return t, nil
		}
		select {
		case <-news:
		case <-late:
			return nil, errTimedOut
		case <-gone:
			return nil, errAborted
		}
	}
}

// collect needs c.mu.
func (c *command) collect(most int) *taken {
	t := &taken{done: c.exited, code: c.code}
	for i := range c.out {
		s := &c.out[i]
		n := min(len(s.data), most)
		most -= n
		data := s.data[:n:n]
		s.data = s.data[n:]
		end := s.eof && len(s.data) == 0 && !s.told
		s.told = s.told || end
		if n > 0 || end {
			t.streams = append(t.streams, struct {
				name string
				data []byte
				end  bool
			}{s.name, data, end})
		}
		t.done = t.done && s.told
	}
	return t
}

// end kills the program.
func (c *command) end() {
	if !c.over() {
		c.process.Kill()
	}
	c.change(func() { c.ended = true })
}

func (c *command) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.exited || c.ended
}

package executor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
)

// Carry carries out the run of which the device has the journal, in a process of its own. It returns at the run's end, when
// the machine restarts for it, or when stop tells it to leave the rest for another time. At boot nobody who has the key
// is expected; otherwise the session that started the process comes at once.
func Carry(ctx context.Context, o Options, id string, atBoot bool, stop <-chan struct{}) error {
	o = o.complete()
	if err := checkRun(id); err != nil {
		return err
	}
	st, err := readState(o.Dir, id)
	if err != nil {
		return err
	}
	me := st.Document.Holder
	me.Run = id
	l, err := await(o.Dir, me)
	if err != nil {
		return err
	}
	if l.stopped != nil && l.stopped.Run != id { // somebody else's turn has come and gone
		return errors.Join(fmt.Errorf("run %s has given way to run %s", id, l.stopped.Run), l.putBack())
	}
	r, err := openRunner(ctx, o, id, l, newContents(filepath.Join(o.Dir, "store")))
	if err != nil {
		l.leave()
		return err
	}
	if atBoot && r.interrupted() && st.Document.Settings.AfterPowerCut == "wait" {
		if r.run.trialsOnly = r.st.begunToMove(); !r.run.trialsOnly {
			r.log.add(interruptedByPower)
			r.log.leave()
			r.log.wait()
			l.leave()
			return nil
		}
	}
	wait := starting
	if atBoot {
		wait = 0
	}
	done, err := r.listen()
	if err != nil {
		r.log.leave()
		r.log.wait()
		l.leave()
		return err
	}
	defer done()
	go func() {
		select {
		case <-stop:
			r.run.suspend()
		case <-r.ctx.Done():
		}
	}()
	r.carry(wait)
	return nil
}

// interruptedByPower is what a run says that doesn't go on by itself after a power cut.
var interruptedByPower = wire.Event{Type: wire.Waiting, Reason: forController, Text: "for the controller: the machine was restarted in the middle of the run"}

// await takes the lock, for which its last owner may need a moment.
func await(dir string, me wire.Holder) (*lock, error) {
	for deadline := time.Now().Add(starting); ; time.Sleep(20 * time.Millisecond) {
		l, other, err := acquire(dir, me)
		switch {
		case err == nil:
			return l, nil
		case !errors.Is(err, errHeld) || time.Now().After(deadline):
			return nil, err
		case other != nil && other.Run != me.Run:
			return nil, fmt.Errorf("run %s is under way", other.Run)
		}
	}
}

// interrupted says whether the machine was restarted without the run having asked for it.
func (r *runner) interrupted() bool {
	was := r.st.Boot // the last start of the machine that the run was at work in
	for _, e := range r.st.events {
		was = cmp.Or(e.Boot, was)
	}
	n := len(r.st.restarts)
	asked := n > 0 && r.st.restarts[n-1].Now && r.st.restarts[n-1].Boot == was
	return was != bootID() && !asked
}

// listen lets sessions join. done ends it, once those who follow have heard all.
func (r *runner) listen() (done func(), err error) {
	l, err := listenRunner(r.Dir, r.id)
	if err != nil {
		return nil, err
	}
	var followers sync.WaitGroup
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			followers.Go(func() { r.serve(c) })
		}
	}()
	r.shut = func() { l.Close() }
	return func() {
		l.Close()
		late := time.AfterFunc(5*time.Second, func() { os.Exit(0) }) // a follower that reads nothing keeps nobody
		followers.Wait()
		late.Stop()
	}, nil
}

// serve speaks with a session that has joined.
func (r *runner) serve(c net.Conn) {
	conn := wire.NewConn(c, c)
	var following sync.WaitGroup
	defer c.Close()
	defer following.Wait()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for {
			m, err := conn.Receive()
			if err != nil {
				return
			}
			switch {
			case m.Attach != nil:
				if len(m.Attach.Key) > 0 {
					if err := r.unlock(m.Attach.Key); err != nil {
						conn.Send(wire.Message{Failed: &wire.Failed{Error: err.Error()}})
					}
				}
				from := m.Attach.From
				following.Go(func() {
					r.log.follow(from, gone, func(events []wire.Event) error {
						var ms []wire.Message
						for i := range events {
							ms = append(ms, wire.Message{Event: &events[i]})
						}
						return conn.Send(ms...)
					})
				})
			case m.Cancel != nil:
				r.cancel(m.Cancel.Now)
			case m.Confirm != nil:
				select {
				case r.run.confirmed <- m.Confirm.N:
				default:
				}
			}
		}
	}()
	select {
	case <-gone:
	case <-r.log.ended:
	}
}

// dialRunner joins a runner. One that was just started gets the time to open its door.
// What the journal holds from event number from on, it has done.
func dialRunner(ctx context.Context, dir, run string, from int, patient bool) (net.Conn, error) {
	const longestWait = 50 * time.Millisecond
	deadline := time.Now().Add(starting)
	for wait := time.Millisecond; ; wait = min(2*wait, longestWait) {
		c, err := dialSocket(ctx, dir, run)
		if err == nil || !patient || time.Now().After(deadline) || ctx.Err() != nil {
			return c, err
		}
		if st, err := readState(dir, run); err == nil && over(st.events) { // it was quicker than we
			return nil, errors.New("the run has ended")
		} else if err == nil && wait == longestWait && len(st.events) > 0 && st.events[len(st.events)-1].N >= from {
			if _, dead := holder(dir); dead {
				return nil, errors.New("the runner has died")
			}
		}
		time.Sleep(wait)
	}
}

package elevate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/modules/hint"
)

// process is an elevated program, or one that may become it.
type process struct {
	t     *Transport
	mark  string
	line  string
	inner transport.Process
	watch *watcher

	stdout  io.Reader
	settled chan struct{} // the program has begun
	done    chan struct{} // inner has ended

	mu           sync.Mutex
	outer, shell string // process ids, once settled
	missing      bool
	cause        error // why we ended it; nil for Kill
	asked        int
	terminal     transport.Process // the other session, if there is one
	terminalEnd  chan result       // how that ended

	exit transport.Exit // how inner, or else the other session, has ended; once done
	err  error

	isKill   bool // it ends another one
	killOnce sync.Once
	killed   chan struct{}
}

func (p *process) Stdin() io.WriteCloser { return p.inner.Stdin() }
func (p *process) Stdout() io.Reader     { return p.stdout }

type result struct {
	exit transport.Exit
	err  error
}

// follow acts upon the script's words until the program has ended.
func (p *process) follow(ctx context.Context) {
	ended := make(chan struct{})
	go func() {
		p.exit, p.err = p.inner.Wait()
		close(ended)
	}()
	for {
		select {
		case e := <-p.watch.events:
			p.handle(ctx, e)
		case <-ended:
			for {
				select {
				case e := <-p.watch.events:
					p.handle(ctx, e)
					continue
				default:
				}
				break
			}
			p.mu.Lock()
			end := p.terminalEnd
			p.mu.Unlock()
			if end != nil {
				r := <-end
				p.exit.Code, p.exit.Signal = r.exit.Code, r.exit.Signal
				if p.err == nil {
					p.err = r.err
				}
			}
			close(p.done)
			return
		}
	}
}

func (p *process) handle(ctx context.Context, e event) {
	switch e.kind {
	case "ask":
		p.answer(p.inner.Stdin())
	case "go":
		p.mu.Lock()
		p.outer, p.shell = e.args[0], e.args[1]
		p.mu.Unlock()
		close(p.settled)
	case "missing":
		p.missing = true
	case "relay":
		p.openTerminal(ctx, e.args[0])
	}
}

// answer gives the password, once.
func (p *process) answer(w io.Writer) {
	p.mu.Lock()
	p.asked++
	again := p.asked > 1
	p.mu.Unlock()
	if again {
		p.refuse(hint.New(errors.New("the password is wrong"), "correct `sudoPassword` in the inventory"))
		return
	}
	password, err := p.t.options.Password()
	if err != nil {
		p.refuse(fmt.Errorf("the password: %w", err))
		return
	}
	go io.WriteString(w, password+"\n") // it isn't this goroutine that may wait
}

// refuse gives up, and lets Wait say why.
func (p *process) refuse(err error) { p.end(p.refused(err)) }

// openTerminal runs the program in a second session, which has a terminal.
func (p *process) openTerminal(ctx context.Context, method string) {
	password := p.t.options.Password != nil
	q, err := p.t.inner.StartWith(ctx, terminalScript(method, folder(p.mark), password, p.mark, p.line), transport.StartOptions{Terminal: true})
	if err != nil {
		p.refuse(fmt.Errorf("%s wants a terminal: %w", method, err))
		return
	}
	end := make(chan result, 1)
	p.mu.Lock()
	p.terminal, p.terminalEnd = q, end
	p.mu.Unlock()
	select {
	case <-p.killed:
		q.Kill()
	default:
	}
	go func() {
		var said string
		b := make([]byte, 1<<10)
		for {
			n, err := q.Stdout().Read(b)
			said += string(b[:n])
			// Nothing but a prompt is said here; doas and PAM choose its words.
			if strings.HasSuffix(strings.TrimSpace(said), ":") {
				said = ""
				if password {
					p.answer(q.Stdin())
				} else {
					p.refuse(wantsPassword(method))
				}
			}
			if err != nil {
				break
			}
		}
		exit, err := q.Wait()
		end <- result{exit, err}
	}()
}

func (p *process) Wait() (transport.Exit, error) {
	<-p.done
	exit := p.exit
	exit.Stderr = p.watch.clean(exit.Stderr)
	p.mu.Lock()
	cause := p.cause
	p.mu.Unlock()
	switch {
	case cause != nil:
		return exit, cause
	case p.err != nil:
		return exit, p.err
	case p.isSettled() || p.isKilled():
		return exit, nil
	}
	return exit, p.refused(explain(exit, p.missing, p.t.options.Method))
}

func (p *process) refused(err error) error {
	return &transport.Error{Kind: transport.Elevation, Err: fmt.Errorf("%s: %w", p.t.name(), err)}
}

func (p *process) isSettled() bool { return isClosed(p.settled) }
func (p *process) isKilled() bool  { return isClosed(p.killed) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (p *process) Kill() error { p.end(nil); return nil }

func (p *process) end(cause error) {
	if isClosed(p.done) {
		return
	}
	p.killOnce.Do(func() {
		p.mu.Lock()
		p.cause = cause
		q := p.terminal
		p.mu.Unlock()
		close(p.killed)
		p.t.kills.Go(p.killElevated)
		p.inner.Kill()
		if q != nil {
			q.Kill()
		}
	})
}

// killElevated ends the program as administrator, which the user may not, or removes what the relay has left. It takes
// killGrace at most.
func (p *process) killElevated() {
	ctx, cancel := context.WithTimeout(context.Background(), killGrace)
	defer cancel()
	select { // its first word may be on its way still
	case <-p.settled:
	case <-p.done:
	case <-ctx.Done():
	}
	// What waiting took isn't lost for what is to be done.
	ctx, cancel = context.WithTimeout(context.Background(), killGrace)
	defer cancel()
	p.mu.Lock()
	outer, shell := p.outer, p.shell
	p.mu.Unlock()
	var q transport.Process
	var err error
	switch {
	case shell != "" && !p.isKill:
		q, err = p.t.start(ctx, killScript(outer, shell), true)
	default:
		// the script may not have come to making it, and be killed a moment from now
		q, err = p.t.inner.StartWith(ctx, "rm -rf "+folder(p.mark)+"; sleep 0.2; rm -rf "+folder(p.mark), transport.StartOptions{})
	}
	if err != nil {
		return
	}
	q.Stdin().Close()
	io.Copy(io.Discard, q.Stdout())
	q.Wait()
}

// explain says why nothing was started, from the words of sudo or doas.
func explain(exit transport.Exit, missing bool, method Method) error {
	said := strings.TrimSpace(exit.Stderr)
	low := strings.ToLower(said)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(low, w) {
				return true
			}
		}
		return false
	}
	name := string(method)
	if method == Any {
		name = "sudo"
		if has("doas") {
			name = "doas"
		}
	}
	switch {
	case missing && method == Any:
		return hint.New(errors.New("neither sudo nor doas is installed"), "install one of them, or connect as root")
	case missing:
		return hint.New(fmt.Errorf("%s is not installed", name), "install it, or connect as root")
	case has("incorrect password", "sorry, try again", "authentication failed", "authentication failure"):
		return hint.New(errors.New("the password is wrong"), "correct `sudoPassword` in the inventory")
	case has("password is required", "authentication is required", "authentication required", "authorization required", "no password was provided"):
		return wantsPassword(name)
	case has("not in the sudoers", "may not run", "not allowed", "operation not permitted", "not permitted"):
		return hint.New(fmt.Errorf("the user may not become administrator (%s)", said), "allow it in the device's configuration of %s, or connect as another user", name)
	case has("have a tty", "a terminal is required", "tty required", "a tty is required", "terminal"):
		return hint.New(fmt.Errorf("%s wants a terminal, and the device gives none (%s)", name, said), "allow terminals in its sshd_config (PermitTTY)")
	case said == "":
		return fmt.Errorf("%s ended with code %d and said nothing", name, exit.Code)
	}
	return hint.New(fmt.Errorf("%s refused: %s", name, said), "try the same with %s on the device", name)
}

func wantsPassword(name string) error {
	return hint.New(fmt.Errorf("%s wants a password, and there is none", name), "give it as `sudoPassword` in the inventory, or allow the user to do without (NOPASSWD, nopass)")
}

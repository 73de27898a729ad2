// Package sshserver is a throw-away SSH server in this process, which shows fitout on a machine that isn't prepared for it.
// It listens on the loopback interface only, has a host key of its own that is made anew each time, and lets in whoever
// holds one given key. Programs run with the rights of this process.
//
//	s, err := sshserver.Start(sshserver.Options{AuthorizedKey: signer.PublicKey(), Dir: folder, SFTP: true})
//	defer s.Close()
//	t, err := ssh.Dial(ctx, ssh.Options{Address: s.Address(), HostKey: s.HostKey(), ...})
//
// Close ends the server, its connections and the programs that run through them.
package sshserver

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/pkg/sftp"
	gossh "golang.org/x/crypto/ssh"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/engine/transport/local"
)

// Options say whom to let in and where programs run.
type Options struct {
	// AuthorizedKey is the only key that may log in, as any user; nil is none.
	AuthorizedKey gossh.PublicKey
	// Configure, if not nil, may change the configuration, to allow other ways to log in, say.
	Configure func(*gossh.ServerConfig)

	Dir  string   // where programs start; default: here
	Env  []string // what is added to their environment, NAME=value
	SFTP bool     // whether there is an sftp subsystem

	// Abandon, if not nil, says whether a new session is closed before it is asked for anything, as dropbear does at times.
	Abandon func() bool
}

// Server is a running server.
type Server struct {
	options  Options
	config   gossh.ServerConfig
	hostKey  gossh.Signer
	listener net.Listener
	programs *local.Transport

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]bool
	wg     sync.WaitGroup
}

// Start listens on a free port of 127.0.0.1.
func Start(o Options) (*Server, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a host key: %w", err)
	}
	hostKey, err := gossh.NewSignerFromSigner(private)
	if err != nil {
		return nil, fmt.Errorf("making a host key: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting an ssh server: %w", err)
	}
	s := &Server{options: o, hostKey: hostKey, listener: l, conns: map[net.Conn]bool{}}
	s.programs = local.NewWith(o.Dir, o.Env)
	if o.AuthorizedKey != nil {
		want := string(o.AuthorizedKey.Marshal())
		s.config.PublicKeyCallback = func(_ gossh.ConnMetadata, key gossh.PublicKey) (*gossh.Permissions, error) {
			if string(key.Marshal()) != want {
				return nil, errors.New("this key may not log in")
			}
			return nil, nil
		}
	}
	s.config.AddHostKey(hostKey)
	if o.Configure != nil {
		o.Configure(&s.config)
	}
	s.wg.Go(s.accept)
	return s, nil
}

// Address is where the server listens, with its port.
func (s *Server) Address() string { return s.listener.Addr().String() }

// HostKey is the server's key as a line of authorized_keys, which ssh.Options.HostKey takes.
func (s *Server) HostKey() string { return string(gossh.MarshalAuthorizedKey(s.hostKey.PublicKey())) }

// Close ends everything and waits for it.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	err := s.listener.Close()
	s.programs.Close()
	s.wg.Wait()
	return err
}

func (s *Server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.closed {
			c.Close()
		} else {
			s.conns[c] = true
			s.wg.Go(func() { s.serve(c) })
		}
		s.mu.Unlock()
	}
}

func (s *Server) serve(c net.Conn) {
	defer func() {
		c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	conn, chans, reqs, err := gossh.NewServerConn(c, &s.config)
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // ends the connection's programs
	var sessions sync.WaitGroup
	sessions.Go(func() { gossh.DiscardRequests(reqs) })
	for ch := range chans {
		switch ch.ChannelType() {
		case "session":
			sessions.Go(func() { s.session(ctx, ch) })
		default:
			ch.Reject(gossh.UnknownChannelType, "only sessions")
		}
	}
	cancel()
	conn.Wait()
	sessions.Wait()
}

// session serves one channel: one program, or SFTP.
func (s *Server) session(ctx context.Context, nc gossh.NewChannel) {
	ch, reqs, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	if s.options.Abandon != nil && s.options.Abandon() {
		ch.Close() // before it could answer anything
		go gossh.DiscardRequests(reqs)
		return
	}
	for r := range reqs {
		var arg struct{ Value string }
		switch r.Type {
		case "exec":
			if gossh.Unmarshal(r.Payload, &arg) == nil {
				s.run(ctx, ch, reqs, r, arg.Value)
				return
			}
		case "subsystem":
			if gossh.Unmarshal(r.Payload, &arg) == nil && arg.Value == "sftp" && s.options.SFTP {
				r.Reply(true, nil)
				go gossh.DiscardRequests(reqs)
				s.sftp(ch)
				return
			}
		case "env":
			r.Reply(true, nil)
			continue
		}
		if r.WantReply {
			r.Reply(false, nil)
		}
	}
}

func (s *Server) sftp(ch gossh.Channel) {
	var o []sftp.ServerOption
	if s.options.Dir != "" {
		o = append(o, sftp.WithServerWorkingDirectory(s.options.Dir))
	}
	srv, err := sftp.NewServer(ch, o...)
	if err != nil {
		return
	}
	srv.Serve()
	srv.Close()
}

func (s *Server) run(ctx context.Context, ch gossh.Channel, reqs <-chan *gossh.Request, r *gossh.Request, line string) {
	p, err := s.programs.StartWith(ctx, line, transport.StartOptions{Stderr: ch.Stderr()})
	r.Reply(err == nil, nil)
	if err != nil {
		return
	}
	go func() {
		for r := range reqs { // ends when the channel is closed
			if r.Type == "signal" {
				p.Kill()
			}
			if r.WantReply {
				r.Reply(false, nil)
			}
		}
		p.Kill()
	}()
	go func() {
		if _, err := io.Copy(p.Stdin(), ch); err == nil {
			p.Stdin().Close()
		}
	}()
	io.Copy(ch, p.Stdout())
	exit, err := p.Wait()
	if err != nil || exit.Signal != "" {
		name := exit.Signal
		if name == "" {
			name = "KILL"
		}
		ch.SendRequest("exit-signal", false, gossh.Marshal(struct {
			Signal     string
			CoreDumped bool
			Message    string
			Language   string
		}{Signal: name}))
		return
	}
	ch.CloseWrite()
	ch.SendRequest("exit-status", false, gossh.Marshal(struct{ Status uint32 }{uint32(exit.Code)}))
}

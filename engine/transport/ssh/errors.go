package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"

	gossh "golang.org/x/crypto/ssh"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/modules/hint"
)

// explain turns the failure of a handshake into words with a next step.
func explain(h *hop, a *attempt, err error) error {
	if _, ok := errors.AsType[*transport.Error](err); ok {
		return err // of a jump host
	}
	fail := func(kind transport.Kind, err error, remedy string, args ...any) error {
		err = fmt.Errorf("%s: %w", h.label, err)
		if remedy != "" {
			err = hint.New(err, remedy, args...)
		}
		return &transport.Error{Kind: kind, Err: err}
	}
	says := func(format string, args ...any) error { return &said{fmt.Sprintf(format, args...), err} }

	if a.hostKey != nil {
		p, ok := a.hostKey.(*hostKeyProblem)
		if !ok {
			return fail(transport.HostKey, a.hostKey, "")
		}
		return fail(transport.HostKey, p, "%s", p.remedy(h))
	}
	if e, ok := errors.AsType[*gossh.OpenChannelError](err); ok {
		return h.via.explainForward(e, fail)
	}
	if e, ok := errors.AsType[*gossh.AlgorithmNegotiationError](err); ok {
		return fail(transport.Protocol, says("no %s in common: the device offers only %s", e.What, strings.Join(e.RequestedAlgorithms, ", ")),
			"update the device's SSH server, or allow newer algorithms in its sshd_config")
	}
	dns, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case errors.Is(err, errTimeout), errors.Is(err, context.DeadlineExceeded):
		if a.wire == nil {
			return fail(transport.TimedOut, says("no answer"), "see whether the device is switched on and reachable from here, and whether a firewall drops port %s", h.port)
		}
		return fail(transport.TimedOut, says("connected, but no answer to the SSH handshake within %v", h.timeout), "see whether the device's SSH server hangs or is overloaded")
	case errors.Is(err, context.Canceled):
		return fail(transport.Unknown, err, "")
	case isDNS && dns.IsTimeout:
		return fail(transport.TimedOut, says("the name server doesn't answer"), "see whether this machine is in the network, or give the device's IP address")
	case isDNS:
		return fail(transport.NameNotFound, says("the name %s is not known", h.host), "check the address, or give the device's IP address")
	case isAny(err, refusedErrors):
		return fail(transport.Refused, says("the connection is refused"), "see whether an SSH server runs there, and whether %s is its port", h.port)
	case isAny(err, unreachableErrors):
		return fail(transport.TimedOut, says("there is no way to the host"), "see whether the device is switched on, and in a network that is reachable from here")
	case a.auth != nil && a.auth.asked && !isCut(err):
		return a.auth.explain(h, err, fail)
	}
	if a.wire == nil {
		return fail(transport.Unknown, err, "")
	}
	hello := a.wire.hello()
	switch {
	case hello == "":
		return fail(transport.Refused, says("the connection is closed before a word is said"),
			"the SSH server may have too many connections (MaxStartups) or block this address (PerSourcePenalties, fail2ban): try again later")
	case strings.HasPrefix(hello, "Exceeded MaxStartups"):
		return fail(transport.Refused, says("the SSH server has too many connections"), "try again later, or raise MaxStartups in its sshd_config")
	case !strings.Contains(hello, "SSH-"):
		return fail(transport.Protocol, says("no SSH server, but something that says %s", quoted(hello)), "check the port")
	case isCut(err):
		return fail(transport.Lost, says("the connection was lost while logging in"), "try again; if it stays, the SSH server's log on the device says why")
	}
	return fail(transport.Protocol, err, "")
}

// said replaces an error's words and keeps its chain.
type said struct {
	text string
	err  error
}

func (s *said) Error() string { return s.text }
func (s *said) Unwrap() error { return s.err }

// isCut tells a connection that has ended from what was said on it.
func isCut(err error) bool {
	_, isNet := errors.AsType[*net.OpError](err)
	return isNet || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded)
}

func isAny(err error, these []error) bool {
	return slices.ContainsFunc(these, func(e error) bool { return errors.Is(err, e) })
}

// explainForward tells why a jump host didn't connect us further. Its words are all there is: OpenSSH's reason code is the
// same for all failures.
func (h *hop) explainForward(e *gossh.OpenChannelError, fail func(transport.Kind, error, string, ...any) error) error {
	says := func(format string, args ...any) error { return &said{fmt.Sprintf(format, args...), e} }
	text := strings.ToLower(e.Message)
	switch {
	case e.Reason == gossh.Prohibited:
		return fail(transport.Refused, says("the %s does not allow connections to other hosts", h.label), "allow them in its sshd_config (AllowTcpForwarding, PermitOpen) or for this user")
	case strings.Contains(text, "refused"):
		return fail(transport.Refused, says("the connection is refused, as seen from the %s", h.label), "see whether an SSH server runs there, and the port")
	case strings.Contains(text, "not known"), strings.Contains(text, "resolve"), strings.Contains(text, "no address"), strings.Contains(text, "unknown host"), strings.Contains(text, "name resolution"):
		return fail(transport.NameNotFound, says("the name is not known to the %s", h.label), "check the address as the jump host knows it, or give the IP address")
	}
	return fail(transport.TimedOut, says("no way to the host from the %s (%s)", h.label, e.Message), "see whether the device is switched on, and reachable from the jump host")
}

func (p *hostKeyProblem) remedy(h *hop) string {
	if p.key == nil {
		return ""
	}
	switch {
	case p.revoked != "":
		return "somebody marked this key as stolen or withdrawn: find out who, and give the device a new one"
	case p.err != nil:
		return "have the certificate renewed by the authority, for the name that the device is reached by"
	case p.pin != "":
		return "somebody may be in between. If the device was re-imaged, correct `hostKey` in the inventory"
	case len(p.known) > 0:
		return fmt.Sprintf("somebody may be in between: do not go on before you know why. If the device was re-imaged, run `fitout trust --replace %s`", h.trust)
	}
	return fmt.Sprintf("compare the fingerprint with the device's own, then run `fitout trust %s`", h.trust)
}

// explain tells what was tried to log in.
func (a *auth) explain(h *hop, err error, fail func(transport.Kind, error, string, ...any) error) error {
	if len(a.tried) == 0 && len(a.notes) == 0 && len(a.allows) > 0 {
		a.notes = append(a.notes, "there is neither a key nor a password to offer")
	}
	text := fmt.Sprintf("%s may not log in", h.user)
	if len(a.tried) > 0 {
		text += "; refused: " + strings.Join(a.tried, ", ")
	}
	if len(a.notes) > 0 {
		text += "; " + strings.Join(a.notes, "; ")
	}
	if len(a.allows) > 0 {
		text += "; the device accepts " + strings.Join(a.allows, ", ")
	}
	if strings.Contains(strings.ToLower(err.Error()), "too many authentication failures") {
		return fail(transport.Auth, &said{text + "; then it gave up (too many attempts)", err}, "name the right key: `identityFile` in the inventory, with IdentitiesOnly in ~/.ssh/config")
	}
	remedy := "check the user, and that its ~/.ssh/authorized_keys on the device has the key"
	if slices.Contains(a.tried, "password") || slices.Contains(a.tried, "keyboard-interactive") {
		remedy = "check the user and the password"
	}
	return fail(transport.Auth, &said{text, err}, "%s", remedy)
}

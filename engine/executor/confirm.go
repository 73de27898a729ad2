package executor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/disk"
	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// A change of how the device is reached (a resource's "connect") goes so:
//
//   - The resource is applied and what it notifies has its turn. Its result is held back.
//   - A confirming event says how the device is to be reached. Whoever follows the run opens a session in that new way, and
//     confirms over it; a session that is older than the event, or that came in by the old way, can't.
//   - Without that, within the time that the profile allows, the change is taken back and what it notified is told again.
//   - A run that is interrupted meanwhile tries again when it goes on. A watchman has it go on although nobody reaches the
//     device any more; and for that long the key to the secrets of such a change lies beside its journal, for root alone.

// confirmWithin is how long the controller may take to reach the device in its new way.
const confirmWithin = 2 * time.Minute

// trial is a change of how the device is reached, not confirmed yet.
type trial struct {
	it    *item
	event wire.Event
}

func (r *run) confirmWithin() time.Duration {
	return cmp.Or(r.doc.Settings.ConfirmWithin, confirmWithin)
}

// watch comes before resources are changed: whatever becomes of this process, those among them that change how the device is
// reached will be confirmed or taken back.
func (r *run) watch(items []*item) {
	on := slices.DeleteFunc(slices.Clone(items), func(it *item) bool { return len(it.Connect) == 0 })
	if len(on) == 0 {
		return
	}
	if r.st.key != nil && !r.doc.Settings.Unattended && slices.ContainsFunc(on, (*item).observesSecret) {
		if err := disk.Replace(disk.OS, keyFile(r.dir, r.doc.ID), r.st.key, 0o600); err != nil {
			r.host.Log().Warn("a change of how the device is reached can't be taken back after a crash", "error", r.host.Scrub(err.Error()))
		}
	}
	if r.watchman == nil && r.detached {
		end, err := startWatchman(Options{Root: r.host.Root(), Dir: r.dir}, r.doc.ID, r.confirmWithin()+5*time.Second)
		if err != nil {
			r.host.Log().Warn("nothing here goes on with the run should it be killed: a change of how the device is reached would stay then", "error", err.Error())
			return
		}
		r.watchman = end
	}
}

// unwatch is for when nothing is on trial any more.
func (r *run) unwatch() {
	if r.watchman != nil {
		r.watchman()
		r.watchman = nil
	}
	if !r.doc.Settings.Unattended {
		disk.OS.Remove(keyFile(r.dir, r.doc.ID))
	}
}

// onTrial says whether a run was interrupted while the controller was to confirm a resource.
func (s *state) onTrial(address string) bool {
	if _, ok := s.settled[address]; ok {
		return false
	}
	return slices.ContainsFunc(s.events, func(e wire.Event) bool { return e.Type == wire.Confirming && e.Address == address })
}

// begunToMove says whether any change of how the device is reached was begun, and isn't at its end.
func (s *state) begunToMove() bool {
	return slices.ContainsFunc(s.Document.Resources, func(r wire.Resource) bool {
		_, over := s.settled[r.Address]
		return !over && (s.onTrial(r.Address) || len(r.Connect) > 0 && s.intents[r.Address] != nil)
	})
}

// takeUp finds what was on trial when the run was interrupted. With all, that is also what was changed and not announced
// yet: a restart of the machine has told everybody.
func (r *run) takeUp(ctx context.Context, all bool) {
	for _, it := range r.items {
		if it.Skip != "" || !r.st.onTrial(it.Address) && (!all || len(it.Connect) == 0 || it.bad != nil || r.st.intents[it.Address] == nil) {
			continue
		}
		if _, over := r.st.settled[it.Address]; over {
			continue
		}
		if !r.st.onTrial(it.Address) && observe(ctx, r.host, []*item{it})[0].op != modules.Same {
			continue
		}
		e := r.started(it.Address)
		e.Status = wire.Changed
		r.trials = append(r.trials, &trial{it: it, event: e})
		r.watch([]*item{it})
	}
}

// confirm has the controller try the new ways of which all that was notified has had its turn, or all of them. It is false when
// the rest of the run is for another time.
func (r *run) confirm(ctx context.Context, all bool) bool {
	if len(r.trials) == 0 {
		return true
	}
	var later []*trial
	for i, t := range r.trials {
		if !all && slices.ContainsFunc(t.it.Notify, func(a string) bool { return r.declared(a) && !r.settledNow[a] }) {
			later = append(later, t)
			continue
		}
		if !r.try(ctx, t) {
			r.trials = append(later, r.trials[i:]...)
			return false
		}
	}
	if r.trials = later; len(later) == 0 {
		r.unwatch()
	}
	return true
}

func (r *run) declared(address string) bool {
	return slices.ContainsFunc(r.items, func(it *item) bool { return it.Address == address })
}

func (r *run) try(ctx context.Context, t *trial) bool {
	why := r.inVain(t)
	if why == nil {
		confirmed, err := r.await(ctx, t)
		switch {
		case confirmed:
			r.finish(t.event)
			return true
		case err == nil:
			return false
		}
		why = err
	}
	e := t.event
	if err := r.takeBack(context.WithoutCancel(ctx), t); err != nil {
		why = hint.New(fmt.Errorf("%w; and the change could not be taken back: %w", why, err), "%s", cmp.Or(remedy(err), hint.Of(why)))
	} else {
		why = hint.New(fmt.Errorf("%w: the change was taken back", why), "%s", hint.Of(why))
	}
	r.fail(&e, why)
	r.finish(e)
	return true
}

// inVain is why nobody needs to try the new way.
func (r *run) inVain(t *trial) error {
	for _, a := range t.it.Notify {
		if what := r.failed[a]; what != "" {
			return hint.New(fmt.Errorf("%s, which makes the new way of reaching the device work, %s", a, what), "see what it says")
		}
	}
	return nil
}

// await is whether the controller has confirmed, or why not. Without either the run is left as it is.
func (r *run) await(ctx context.Context, t *trial) (bool, error) {
	within := r.confirmWithin()
	shown := maps.Clone(t.it.Connect)
	if shown == nil {
		shown = map[string]any{}
	}
	if shown["hostKey"] != nil {
		keys, err := hostKeys(ctx, r.host)
		if err != nil {
			return false, err
		}
		shown["hostKeys"] = keys
	}
	n := r.log.add(wire.Event{Type: wire.Confirming, Address: t.it.Address, Connect: shown, Text: within.String()})
	late := time.NewTimer(within)
	defer late.Stop()
	for {
		select {
		case m := <-r.confirmed:
			if m == n {
				return true, nil
			}
		case <-late.C:
			return false, hint.New(fmt.Errorf("nobody has reached the device in the new way (%s) within %s", way(t.it.Connect), within),
				"does what is declared under connect match what the change does, and is something in between that lets only the old way through, such as a firewall?")
		case <-ctx.Done():
			return false, errors.New("cancelled before the new way of reaching the device was confirmed")
		case <-r.stopping:
			return false, errors.New("cancelled before the new way of reaching the device was confirmed")
		case <-r.suspending:
			return false, nil
		}
	}
}

// way names a way to reach a device: "port 2222, user admin".
func way(connect map[string]any) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(connect)) {
		switch k {
		case "password":
			parts = append(parts, "another password")
		case "hostKey":
			parts = append(parts, "a new host key")
		default:
			parts = append(parts, fmt.Sprintf("%s %v", k, connect[k]))
		}
	}
	return cmp.Or(strings.Join(parts, ", "), "declared")
}

// hostKeys are the public halves of the keys that this machine's sshd shows, as lines of a .pub file.
func hostKeys(ctx context.Context, h *host.Host) ([]string, error) {
	const dir = "/etc/ssh"
	names, err := h.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("find the host keys: %w", err)
	}
	var keys []string
	for _, name := range names {
		if !strings.HasPrefix(name, "ssh_host_") || !strings.HasSuffix(name, "_key") {
			continue
		}
		// Not the .pub file: sshd goes by the private key, and that may be all that was replaced.
		res, err := h.Must(ctx, host.Cmd{Args: []string{"ssh-keygen", "-y", "-P", "", "-f", dir + "/" + name}})
		if err != nil {
			return nil, fmt.Errorf("host key %s: %w", name, err)
		}
		if f := strings.Fields(string(res.Stdout)); len(f) >= 2 {
			keys = append(keys, f[0]+" "+f[1])
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("no host keys are in %s", dir)
	}
	return keys, nil
}

// takeBack undoes a change and tells those who were notified of it.
func (r *run) takeBack(ctx context.Context, t *trial) error {
	in := r.st.intents[t.it.Address]
	switch {
	case len(t.it.Sealed) > 0:
		return errLocked
	case in == nil:
		return errors.New("how it was before isn't known")
	}
	have, err := r.st.before(t.it, in)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(in.Kept, func(k kept) bool { return k.Sealed }) { // the old content is in the journal alone
		if st, err := readState(r.dir, r.doc.ID); err == nil {
			if err := st.unlock(r.st.key, r.store); err != nil {
				return err
			}
		}
	}
	back, err := t.it.typ.Inverse(t.it.want, have)
	if err != nil {
		return err
	}
	undo := *t.it
	undo.want = back
	r.host.Forget()
	f := observe(ctx, r.host, []*item{&undo})[0]
	if f.err != nil {
		return f.err
	}
	if f.op != modules.Same {
		res := r.apply(ctx, []*item{&undo}, []any{back}, []any{f.have})
		r.host.Forget()
		if res[0].Err != nil {
			return res[0].Err
		}
		if f := observe(ctx, r.host, []*item{&undo})[0]; f.err != nil || f.op != modules.Same {
			return errors.Join(errors.New("it is not as it was before"), f.err)
		}
	}
	var errs []error
	for _, it := range r.items {
		if !slices.Contains(t.it.Notify, it.Address) || !it.mayBeNotified() {
			continue
		}
		err, callErr := call(ctx, r.host, []*item{it}, longestApply, func(ctx context.Context) error {
			return it.typ.Notify(ctx, r.host, it.want)
		})
		if err = errors.Join(err, callErr); err == nil {
			r.owed.delivered(it.Address)
		} else if !errors.Is(err, host.ErrNeedsSystem) {
			errs = append(errs, fmt.Errorf("%s: %w", it.Address, err))
		}
	}
	r.host.Forget()
	return errors.Join(errs...)
}

// before is how a resource was before the run changed it.
func (s *state) before(it *item, in *intent) (any, error) {
	have := []byte(in.Have)
	if len(in.Sealed) > 0 {
		var err error
		if have, err = unseal(s.key, about(s.Document.ID, "before "+in.Address), in.Sealed); err != nil {
			return nil, err
		}
	}
	if len(have) == 0 {
		return nil, errors.New("how it was before was not recorded")
	}
	return it.typ.Decode(json.RawMessage(have))
}

// opening is what a session knows of the run that was under way when it was opened.
type opening struct {
	run  string
	last int // event
}

func (s *session) notice(live *wire.Holder) {
	if live == nil || !validRun(live.Run) {
		return
	}
	if events, err := readEvents(s.Dir, live.Run); err == nil && len(events) > 0 {
		s.opening = opening{live.Run, events[len(events)-1].N}
	}
}

// confirm passes on to the runner that the device was reached in a new way, if it was: by a session that was opened after the
// change was announced, and in that way as far as can be seen here.
func (s *session) confirm(m wire.Message) {
	c := *m.Confirm
	if err := s.mayConfirm(c); err != nil {
		s.fail(wire.Failed{Error: "confirm the new way: " + err.Error()})
		return
	}
	runner, err := dialRunner(context.Background(), s.Dir, c.Run, 1, false)
	if err != nil {
		s.fail(wire.Failed{Error: "confirm the new way: " + err.Error()})
		return
	}
	defer runner.Close()
	wire.NewConn(runner, runner).Send(m)
}

func (s *session) mayConfirm(c wire.Confirm) error {
	if err := checkRun(c.Run); err != nil {
		return err
	}
	if s.opening.run != c.Run || s.opening.last < c.N {
		return errors.New("this session was opened before the change, so it proves nothing")
	}
	st, err := readState(s.Dir, c.Run)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(st.events, func(e wire.Event) bool { return e.N == c.N && e.Type == wire.Confirming })
	if i < 0 {
		return fmt.Errorf("event %d announces no change", c.N)
	}
	return st.Login.otherThan(s.login, st.events[i].Connect)
}

// otherThan is nil unless a login is seen to have come in the old way although connect says that it should not. Addresses and
// ports may be translated on the way, so other ones than declared prove nothing against it.
func (old *login) otherThan(now *login, connect map[string]any) error {
	if old == nil || now == nil { // not over ssh
		return nil
	}
	if port, ok := connect["port"]; ok && now.Port == old.Port && fmt.Sprint(port) != strconv.Itoa(now.Port) {
		return fmt.Errorf("this session came in at port %d, as before", now.Port)
	}
	if address := fmt.Sprint(connect["address"]); net.ParseIP(address) != nil && now.Address == old.Address && address != now.Address {
		return fmt.Errorf("this session came in at %s, as before", now.Address)
	}
	if user, ok := connect["user"]; ok && user != now.User {
		return fmt.Errorf("this session was logged in by %s", now.User)
	}
	return nil
}

// reached is how a device is reached again once a change of that is undone, as far as its own eyes tell: passwords and the
// controller's files are not its business.
func (old *login) reached(connect map[string]any) map[string]any {
	if old == nil {
		return nil
	}
	before := map[string]any{"address": old.Address, "port": old.Port, "user": old.User, "hostKey": "new"}
	maps.DeleteFunc(before, func(k string, _ any) bool { return connect[k] == nil })
	return before
}

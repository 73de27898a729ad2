//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// round is one or two faults in a run, and what came of it. All that is left to chance in it follows from the storm's
// seed and the round's number.
type round struct {
	n       int
	start   string // clean, release or damaged
	damaged int    // in how many places
	bare    bool   // not even the executor is there
	faults  []fault
	attach  bool // reattach before applying again, where fitout can
	seed    *rand.Rand

	results  []*result
	evidence *evidence
	breaches []breach
	held     int           // how often the next run was refused because the first was still under way
	took     time.Duration // from the first fault to the end
	err      error         // of the lab: nothing is known
}

// draw decides on a round. The kinds take turns, in an order of the seed's, so that all of them are seen equally often.
func draw(seed uint64, n int, among []kind) *round {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	turn := rand.New(rand.NewPCG(seed, 1<<63+uint64(n/len(among)))).Perm(len(among))
	out := &round{n: n, seed: r, attach: r.IntN(2) == 0}
	out.faults = []fault{among[turn[n%len(among)]].draw(r)}
	if r.IntN(5) == 0 {
		second := among[r.IntN(len(among))].draw(r)
		second.later = r.IntN(2) == 0
		out.faults = append(out.faults, second)
	}
	switch r.IntN(10) {
	case 0, 1, 2:
		out.start, out.bare = "clean", r.IntN(2) == 0
	case 3, 4, 5, 6:
		out.start = "release"
	default:
		out.start, out.damaged = "damaged", r.IntN(9)
	}
	return out
}

func (r *round) String() string {
	var faults []string
	for _, f := range r.faults {
		faults = append(faults, f.String())
	}
	start := map[string]string{"clean": "a clean machine", "release": "an earlier release", "damaged": fmt.Sprintf("%d damages", r.damaged)}[r.start]
	if r.bare {
		start += " without executor"
	}
	return strings.Join(faults, ", then ") + "; from " + start
}

// prepare brings the machine to where the round starts, and says what it is to become.
func (r *round) prepare(ctx context.Context, s *station) (*site, error) {
	if r.start == "clean" {
		script := clean
		if r.bare {
			script += "; rm -rf /var/lib/fitout"
		}
		s.release = 0
		_, err := s.m.Exec(ctx, script)
		return newSite(r.n + 2), err
	}
	if s.release == 0 {
		if _, err := s.converge(ctx, newSite(r.n+1)); err != nil {
			return nil, err
		}
	}
	if r.start == "release" {
		// The parity decides what there is: the next release must differ in it.
		return newSite(s.release + 1 + 2*(r.n%3)), nil
	}
	to := newSite(s.release)
	script := "set +e; exec >/dev/null 2>&1 </dev/null\n"
	for k, i := range r.seed.Perm(len(to.resources)) {
		if k < 3*r.damaged && to.resources[i].damage != "" {
			script += to.resources[i].damage + "\n"
		}
	}
	_, err := s.m.Exec(ctx, script+":")
	return to, err
}

// run carries the round out.
func (r *round) run(ctx context.Context, s *station) {
	ctx, cancel := context.WithTimeout(ctx, 5*s.patience())
	defer cancel()
	if r.err = r.attempt(ctx, s); r.err == nil {
		r.breaches = judge(r.evidence)
	}
	if r.err != nil || len(r.breaches) > 0 {
		s.release = 0
	}
}

func (r *round) attempt(ctx context.Context, s *station) error {
	to, err := r.prepare(ctx, s)
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	if err := s.declare(to); err != nil {
		return err
	}
	e := &evidence{site: to}
	r.evidence = e
	out, err := s.m.Exec(ctx, to.probe())
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	e.before = to.read(out)
	if _, err := s.m.Exec(ctx, "rm -rf /var/lib/storm/log/*"); err != nil { // the services' last words are asked for again
		return err
	}
	if err := s.reopen(ctx); err != nil {
		return err
	}
	known, err := s.runs(ctx)
	if err != nil {
		return err
	}

	r.results = nil
	began := time.Now()
	var now, later []fault
	for _, f := range r.faults {
		k := kindNamed(f.kind)
		e.forgot, e.restarted, e.jumped = e.forgot || k.forgets, e.restarted || k.restarts, e.jumped || k.jumps
		if f.later {
			later = append(later, f)
		} else {
			now = append(now, f)
		}
	}
	first, err := r.under(ctx, s, now, apply)
	if err != nil {
		return err
	}
	e.first = first.code
	if len(later) > 0 {
		if _, err := r.under(ctx, s, later, apply); err != nil {
			return err
		}
	}
	if r.attach && s.attaches {
		if _, err := r.under(ctx, s, nil, []string{"attach", "--json"}); err != nil {
			return err
		}
	}
	// Of an executor that was half sent nobody knows, for an hour, whether it is still on its way. sftp-server may have some
	// of it yet, after who sent it was killed.
	if _, err := s.m.Exec(ctx, `timeout 30 sh -c 'while pgrep -x sftp-server; do sleep 0.1; done' >/dev/null || :
		touch -c -d '2 hours ago' /tmp/fitout-*.gz /var/lib/fitout/bin/.new-* 2>/dev/null || :`); err != nil {
		return err
	}
	// Two runs are enough: the first may tell what it couldn't do.
	for tries := 0; tries < 2 && !e.recovered; tries++ {
		last, err := r.under(ctx, s, nil, apply)
		if err != nil {
			return err
		}
		if last.held() && r.held < 10 {
			r.held++
			tries--
			if err := s.released(ctx); err != nil {
				return err
			}
			continue
		}
		e.recovered = last.code == 0
	}
	r.took = time.Since(began)
	for _, res := range r.results {
		e.told = append(e.told, res.changed()...)
		if res.hung {
			e.hung = append(e.hung, res.line)
		}
	}
	if err := r.collect(ctx, s, known); err != nil {
		return err
	}
	s.release = to.release
	return nil
}

// under runs fitout under faults, and returns when it has ended and the machine is as it was.
func (r *round) under(ctx context.Context, s *station, faults []fault, args []string) (*result, error) {
	c, err := s.start(ctx, nil, args...)
	if err != nil {
		return nil, err
	}
	extent := s.update
	if r.start == "clean" {
		extent = s.clean
	}
	for _, f := range faults {
		var there <-chan struct{}
		at := time.NewTimer(time.Duration(f.at*float64(extent.took)) - time.Since(c.started))
		if f.event > 0 {
			there = c.stdout.reach(1 + int(f.event*float64(extent.lines)))
			at.Reset(2 * extent.took) // it may never get that far
		}
		select {
		case <-at.C:
		case <-there:
			last(ctx, time.Duration(f.chance%20)*ms)
		case <-c.ended:
		}
		at.Stop()
		if err := kindNamed(f.kind).do(ctx, s, c, f); err != nil {
			_ = c.cmd.Process.Kill()
			<-c.ended
			return nil, fmt.Errorf("%s: %w", f.kind, err)
		}
	}
	res := c.wait(ctx)
	r.results = append(r.results, res)
	if err := s.m.WaitUp(ctx); err != nil {
		return nil, fmt.Errorf("the machine does not come up: %w", err)
	}
	return res, ctx.Err()
}

// collect asks fitout what it remembers, and the machine's own tools what there is.
func (r *round) collect(ctx context.Context, s *station, known []string) error {
	e := r.evidence
	ids, err := s.runs(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids[len(known):] {
		run, err := s.show(ctx, id)
		if err != nil {
			return err
		}
		e.runs = append(e.runs, run)
	}
	out, err := s.m.Exec(ctx, e.site.probe())
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	e.after = e.site.read(out)
	if e.begins, e.read, err = s.logs(ctx); err != nil {
		return err
	}
	for deadline := time.Now().Add(r.grace()); ; {
		if e.left, err = s.left(ctx); err != nil || len(e.left) == 0 || time.Now().After(deadline) {
			return err
		}
		last(ctx, 100*ms)
	}
}

// grace is how long what has just ended may take to be gone. After a cut sshd hears that its peer has gone only when TCP
// sends again what was lost, and it waits up to as long as the network has been away.
func (r *round) grace() time.Duration {
	grace := 30 * time.Second
	for _, f := range r.faults {
		if k := kindNamed(f.kind); k.cuts {
			grace += f.hold * 3 / 2
		}
	}
	return grace
}

// reopen has the services say again which configuration they have read.
func (s *station) reopen(ctx context.Context) error {
	_, err := s.m.Exec(ctx, `for n in app reload; do if systemctl -q is-active storm-$n; then mkdir -p `+logs+`; /usr/local/sbin/storm-run $n reload || :; fi; done`)
	return err
}

// logs are what commands and services wrote in this round.
func (s *station) logs(ctx context.Context) (begins map[string][]time.Time, read map[string]string, err error) {
	out, err := s.m.Exec(ctx, "cd "+logs+" 2>/dev/null || exit 0; for f in *; do [ ! -f $f ] || sed s/^/$f' '/ $f; done")
	if err != nil {
		return nil, nil, err
	}
	begins, read = map[string][]time.Time{}, map[string]string{}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		switch {
		case len(f) == 3 && f[1] == "b":
			ns, _ := strconv.ParseInt(f[2], 10, 64)
			begins[f[0]] = append(begins[f[0]], time.Unix(0, ns))
		case len(f) >= 3 && f[1] != "e":
			read[f[0]] = f[2]
		}
	}
	return begins, read, nil
}

// remains is a script that prints what no run may leave behind.
const remains = `set +e; exec 2>/dev/null; cd /var/lib/fitout
systemctl list-units --all --no-legend --plain 'fitout*' | sed 's/^/unit /'
systemctl list-unit-files --no-legend 'fitout*' | sed 's/^/unit file /'
ls -d /etc/systemd/system/*fitout* /etc/systemd/system/*/*fitout* /run/systemd/transient/*fitout* | sed 's/^/unit file /'
[ ! -s lock ] || echo "lock filled: $(cat lock)"
[ ! -e lock ] || flock -n lock true || echo "lock held"
[ ! -s owed.json ] || echo "owed: $(cat owed.json)"
find / -xdev \( -name '.fitout-*' -o -name '*.dpkg-new' -o -name '*.dpkg-tmp' \) | sed 's/^/temporary file /'
find /tmp /var/tmp /run /dev/shm -name '*fitout*' | sed 's/^/temporary file /'
ls -d bin/.new-* *.new *.tmp runs/*/*.new runs/*/*.tmp store/*.new store/.* | grep -v '/\.\.*$' | sed 's/^/temporary file /'
ls -d runs/*/socket | sed 's/^/socket /'
ls -d /etc/passwd.* /etc/group.* /etc/shadow.* /etc/gshadow.* /etc/*.lock /etc/*+ | grep -v '/\.pwd\.lock$' | sed 's/^/temporary file /'
dpkg --audit | grep . | head -3 | sed 's/^/dpkg: /'
for p in /proc/[0-9]*; do case $(readlink $p/exe) in /var/lib/fitout/*) echo "process ${p#/proc/}: $(tr '\0' ' ' <$p/cmdline)";; esac; done
:`

// left is what remains of fitout on the machine.
func (s *station) left(ctx context.Context) ([]string, error) {
	out, err := s.m.Exec(ctx, remains)
	if err != nil || out == "" {
		return nil, err
	}
	return strings.Split(out, "\n"), nil
}

// scrub removes what left found.
func (s *station) scrub(ctx context.Context) error {
	_, err := s.m.Exec(ctx, `exec 2>/dev/null; rm -rf /var/lib/fitout; find /etc /home /root /srv /tmp /usr/local /var -xdev \( -name '.fitout-*' -o -name 'fitout-*' \) -delete || :
systemctl daemon-reload; systemctl reset-failed`)
	if err != nil {
		return err
	}
	left, err := s.left(ctx)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("%d things can't be removed", len(left))
	}
	return err
}

// released returns when no run is under way on the machine.
func (s *station) released(ctx context.Context) error {
	_, err := s.m.Exec(ctx, "flock -w 120 /var/lib/fitout/lock true")
	return err
}

// keep writes all that is known of a round into a folder.
func (r *round) keep(ctx context.Context, s *station, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			r.err = err
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r)
	for _, br := range r.breaches {
		fmt.Fprintf(&b, "%s: %s\n", br.promise, br.what)
	}
	if r.err != nil {
		fmt.Fprintf(&b, "error: %v\n", r.err)
	}
	write("verdict", b.String())
	for i, res := range r.results {
		write(fmt.Sprintf("%d.out", i+1), res.stdout)
		write(fmt.Sprintf("%d.err", i+1), fmt.Sprintf("%s\n%s\nexit status %d after %s, hung: %v", res.line, res.stderr, res.code, res.took, res.hung))
	}
	if e := r.evidence; e != nil {
		write("profile.yaml", e.site.profile())
		b.Reset()
		for _, res := range e.site.resources {
			fmt.Fprintf(&b, "%s\n  before %q\n  after  %q\n  want   %q\n", res.address, e.before[res.address], e.after[res.address], res.want)
		}
		for _, run := range e.runs {
			fmt.Fprintf(&b, "\nrun %s\n", run.ID)
			for _, d := range run.Devices {
				for _, ev := range d.Events {
					fmt.Fprintf(&b, "  %s %s %s %s\n", ev.Time.Format(time.StampMicro), ev.Type, ev.Address, ev.Status)
				}
			}
		}
		fmt.Fprintf(&b, "\nbegins: %v\nread: %v\nleft: %v\n", e.begins, e.read, e.left)
		write("evidence", b.String())
	}
	out, _ := s.m.Exec(ctx, "set +e; ps -efH; journalctl -b --no-pager -n 300; ls -lR /var/lib/fitout; cat /var/log/dpkg.log | tail -50; head -c 100000 /var/lib/storm/log/*")
	write("machine", out)
	_, _ = s.m.Exec(ctx, "tar -C /var/lib -czf /root/fitout.tar.gz fitout --exclude=fitout/bin")
	if b, err := os.ReadFile(filepath.Join(s.m.Root(), "root/fitout.tar.gz")); err == nil {
		write("fitout.tar.gz", string(b))
	}
	return r.err
}

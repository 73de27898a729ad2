// Package apt is Debian's package management as resource types see it: dpkg's database, read natively, and apt's tools for
// what must not be done twice (resolving dependencies, fetching, installing).
//
//	db, err := apt.Read(h)                                       // one read of /var/lib/dpkg/status
//	p := db.Find("curl")                                         // p.Present(), p.Version, p.Held(), p.Broken()
//	errs := apt.Apply(ctx, h, []apt.Change{{Name: "curl"}})      // one transaction, results one by one
//
// What only looks (Read, Policies, Upgradable) changes nothing on the device, apt's own caches included. What changes waits
// for the locks that other programs hold, at most ten minutes, never asks anything, and first ends what dpkg left undone.
package apt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

const aptGet = "/usr/bin/apt-get"

// Available says why apt can't be used on this device; nil where it can.
func Available(h *host.Host) error {
	if h.Exists(aptGet) {
		return nil
	}
	return hint.New(errors.New("no package manager that is supported: apt-get is missing"),
		"packages can be declared for Debian, Ubuntu and what derives from them; use `when` to leave this device out")
}

// options of every apt-get. A changed configuration file is kept as the device has it.
var options = []string{"-q", "-y", "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold", "-o", "Dpkg::Use-Pty=0",
	"-o", "DPkg::Lock::Timeout=60", "-o", "APT::Get::Show-User-Simulation-Note=0"}

// quiet keeps package scripts and hooks from asking, and needrestart from restarting services behind the profile's back.
var quiet = []string{"DEBIAN_FRONTEND=noninteractive", "DEBIAN_PRIORITY=critical", "APT_LISTCHANGES_FRONTEND=none", "APT_LISTBUGS_FRONTEND=none",
	"NEEDRESTART_MODE=l", "NEEDRESTART_SUSPEND=1", "UCF_FORCE_CONFFOLD=1"}

// run runs a tool that changes the device. Both of its streams come back as one: that is how its messages make sense.
func run(ctx context.Context, h *host.Host, stdin string, args ...string) (out string, ok bool, err error) {
	c := host.Cmd{Args: append([]string{"/bin/sh", "-c", `exec "$@" 2>&1`, "sh"}, args...), Env: quiet, Dir: "/"}
	if stdin != "" {
		c.Stdin = strings.NewReader(stdin)
	}
	res, err := h.Run(ctx, c)
	return string(res.Stdout), res.Code == 0, err
}

// look runs a tool that must change nothing. Root would write apt's cache files, so root looks as nobody.
func look(ctx context.Context, h *host.Host, args ...string) (host.Result, error) {
	c := host.Cmd{Args: args, Env: quiet, Dir: "/", User: "nobody"}
	res, err := h.Run(ctx, c)
	if errors.Is(err, fs.ErrPermission) { // not root, so there is nothing to give up
		c.User = ""
		res, err = h.Run(ctx, c)
	}
	return res, err
}

// Policies asks what versions of these packages could be installed. An unknown name is missing from the result.
func Policies(ctx context.Context, h *host.Host, names []string) (map[string]Policy, error) {
	if len(names) == 0 {
		return nil, nil
	}
	res, err := look(ctx, h, append([]string{"/usr/bin/apt-cache", "policy"}, names...)...)
	if err != nil {
		return nil, err
	}
	if res.Code != 0 && len(res.Stdout) == 0 {
		return nil, diagnose(string(res.Stderr)).error("read the package lists")
	}
	return ParsePolicy(string(res.Stdout)), nil
}

// patience is how long another program may hold a lock.
const patience = 10 * time.Minute

var locks = []string{"/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock", "/var/cache/apt/archives/lock"}

// Wait returns when no other program holds a lock of apt's or dpkg's.
func Wait(ctx context.Context, h *host.Host) error {
	start, told := time.Now(), ""
	for {
		holder := ""
		for _, l := range locks {
			who, err := h.LockHolder(l)
			if err != nil {
				return err
			}
			if who != "" {
				holder = who
				break
			}
		}
		switch {
		case holder == "":
			return nil
		case time.Since(start) > patience:
			return hint.New(fmt.Errorf("packages are locked by %s since %s", holder, patience), "wait for it to end, or end it, then apply again")
		case holder != told:
			h.Log().Info("waiting for the lock on packages", "holder", holder)
			told = holder
		}
		select {
		case <-ctx.Done():
			return hint.New(fmt.Errorf("packages are locked by %s: %w", holder, context.Cause(ctx)), "wait for it to end, then apply again")
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// Refresh fetches the package lists anew. Lists that could not be fetched are an error; the others are refreshed all the same.
func Refresh(ctx context.Context, h *host.Host) error {
	for {
		if err := Wait(ctx, h); err != nil {
			return err
		}
		out, ok, err := run(ctx, h, "", append([]string{aptGet}, append(slices.Clone(options), "-o", "Acquire::Retries=2", "update")...)...)
		if err != nil {
			return err
		}
		// apt-get forgives sources that it could not reach: it warns and goes on with old lists.
		var warned []string
		for line := range strings.Lines(out) {
			if line = strings.TrimSpace(line); hasAny(line, "W: Failed to fetch", "W: GPG error", "W: An error occurred during the signature") {
				warned = append(warned, "E: "+line)
			}
		}
		if ok && len(warned) == 0 {
			return stamp(h)
		}
		d := diagnose(out + "\n" + strings.Join(warned, "\n"))
		if d.cause != locked {
			return d.error("the package lists could not be refreshed")
		}
	}
}

// Repair ends what dpkg left undone: a crash or a kill in the middle of its work, or a script that failed.
func Repair(ctx context.Context, h *host.Host) error {
	out, ok, err := run(ctx, h, "", "/usr/bin/dpkg", "--force-confdef", "--force-confold", "--configure", "--pending")
	if err != nil || ok {
		return err
	}
	return diagnose(out).error("end what dpkg had begun (dpkg --configure -a)")
}

// Hold sets or lifts the hold of several packages at once.
func Hold(ctx context.Context, h *host.Host, hold map[string]bool) error {
	if len(hold) == 0 {
		return nil
	}
	var in strings.Builder
	for name, held := range hold {
		word := "install"
		if held {
			word = "hold"
		}
		fmt.Fprintf(&in, "%s %s\n", name, word)
	}
	if err := Wait(ctx, h); err != nil {
		return err
	}
	out, ok, err := run(ctx, h, in.String(), "/usr/bin/dpkg", "--set-selections")
	if err != nil || ok {
		return err
	}
	return diagnose(out).error("set holds")
}

// error tells people why apt failed at something, and what to do about it.
func (d diagnosis) error(doing string) error {
	text := d.text
	for _, name := range slices.Sorted(maps.Keys(d.failed)) {
		text += "\n" + name + ": " + d.failed[name]
	}
	err := fmt.Errorf("%s: %s", doing, strings.TrimSpace(text))
	switch d.cause {
	case locked:
		return hint.New(err, "wait for the other program to end, then apply again")
	case noSpace:
		return hint.New(err, "make room on the device (apt-get clean frees the packages that were fetched), then apply again")
	case noNetwork:
		return hint.New(err, "see whether the device reaches its package sources, and its proxy settings in /etc/apt/apt.conf.d")
	case untrusted:
		return hint.New(err, "install the key that signs this source, or correct the source in /etc/apt/sources.list.d")
	case unmet:
		return hint.New(err, "declare the packages in its way absent, or allow other versions")
	case wrecked:
		return hint.New(err, "add the source that has it to /etc/apt/sources.list.d, or declare it absent")
	case outdated:
		return hint.New(err, "the archive is being updated or its mirror is behind; apply again later")
	}
	return err
}

// RebootPending says which packages wait for a reboot, or "".
func RebootPending(h *host.Host) string {
	for _, dir := range []string{"/run", "/var/run"} {
		if !h.Exists(dir + "/reboot-required") {
			continue
		}
		names := []string{}
		if b, err := h.ReadFile(dir + "/reboot-required.pkgs"); err == nil {
			names = strings.Fields(string(b))
		}
		slices.Sort(names)
		if names = slices.Compact(names); len(names) == 0 {
			return "requested by the system"
		}
		return "requested by " + strings.Join(names, ", ")
	}
	return ""
}

// Policy finds name, or name:architecture, in what Policies returned, which leaves the device's own architecture out.
func (d *Database) Policy(policies map[string]Policy, name string) (p Policy, known bool) {
	short, arch, _ := strings.Cut(name, ":")
	if p, known = policies[name]; !known && arch == d.native {
		p, known = policies[short]
	}
	return p, known
}

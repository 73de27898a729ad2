package applications

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/registry"
	"github.com/fitout-dev/fitout/modules/host/setup"
)

const (
	busyTime   = 10 * time.Minute // for another installation to end
	busyPause  = 2 * time.Second
	settleTime = 30 * time.Second // for what an installer leaves running when it returns
)

// Observe implements modules.Resource.
func (r Installers) Observe(_ context.Context, h *host.Host, want Installer) (Installer, error) {
	have := Installer{Name: want.Name, State: modules.Absent}
	if !h.Living() {
		return have, host.ErrNeedsSystem
	}
	if err := r.Check(want); err != nil {
		return have, err
	}
	f, err := find(h, want)
	if err != nil || !f.there {
		return have, err
	}
	have.State, have.Version, have.Found = modules.Present, f.version, f.as
	if want.State == modules.Absent || want.Version == nil || f.version == nil || want.AllowDowngrade {
		return have, nil
	}
	if _, newer := versionMet(*want.Version, *f.version); newer {
		return have, hint.New(fmt.Errorf("%s %s is newer than %s", want.Name, *f.version, *want.Version),
			"write version: \">=%s\" if newer ones will do, or add allowDowngrade: true", *want.Version)
	}
	return have, nil
}

// found is what there is of an application.
type found struct {
	there   bool
	version *string
	as      string
	code    string       // of the product that Windows Installer has
	entry   *setup.Entry // that removes it
}

func find(h *host.Host, want Installer) (found, error) {
	f := found{there: true}
	version := func(v string) {
		if f.version == nil && v != "" {
			f.version = &v
		}
	}
	if want.ProductCode != "" {
		code, err := setup.CheckCode(want.ProductCode)
		if err != nil {
			return f, err
		}
		p, err := setup.Installed(code)
		if err != nil || p == nil {
			return found{}, err
		}
		f.code, f.as = code, code
		version(p.Version)
	}
	if pattern := want.entryName(); pattern != "" {
		entries, err := host.Memo(h, "uninstall entries", setup.Entries)
		if err != nil {
			return f, err
		}
		i := slices.IndexFunc(entries, func(e setup.Entry) bool {
			return (isEntry(pattern, e.Name) || isEntry(pattern, e.Key)) && (want.Scope == "" || e.User == (want.Scope == "user"))
		})
		if i < 0 {
			return found{}, nil
		}
		f.entry, f.as = &entries[i], entries[i].Key
		if code, err := setup.CheckCode(f.entry.Key); err == nil && f.entry.MSI && f.code == "" {
			f.code = code
		}
		version(f.entry.Version)
	}
	if want.File != "" {
		if !h.Exists(want.File) {
			return found{}, nil
		}
		v, err := setup.FileVersion(want.File)
		if err != nil {
			return f, err
		}
		version(v)
	}
	if want.Registry != "" {
		v, err := registryVersion(h, want)
		if err != nil || v == nil {
			return found{}, err
		}
		version(*v)
	}
	return f, nil
}

// registryVersion is the text of the value that shows the application, in the view of 64 or 32 bits, or nil.
func registryVersion(h *host.Host, want Installer) (*string, error) {
	hive, key, name, err := want.registryValue()
	if err != nil {
		return nil, err
	}
	roots, release, err := registry.Open(h, hive, "")
	if err != nil {
		return nil, err
	}
	defer func() { _ = release() }() // the machine's hives are always loaded
	for _, view := range []registry.View{registry.View64, registry.View32} {
		v, err := roots[0].Get(key, name, view)
		if err != nil {
			return nil, err
		}
		if v == nil {
			continue
		}
		s, ok := v.Text()
		if n, isNumber := v.Number(); !ok && isNumber {
			s = fmt.Sprint(n)
		}
		return &s, nil
	}
	return nil, nil
}

// Apply implements modules.Resource.
func (r Installers) Apply(ctx context.Context, h *host.Host, want, _ Installer) (out modules.Outcome, err error) {
	if err := r.Check(want); err != nil {
		return out, err
	}
	h.Forget()
	f, err := find(h, want)
	if err != nil {
		return out, err
	}
	if want.State == modules.Absent {
		if !f.there {
			return out, nil
		}
		return r.remove(ctx, h, want, f)
	}
	file, cleanup, err := fetch(ctx, h, want)
	defer func() { err = errors.Join(err, cleanup()) }()
	if err != nil {
		return out, err
	}
	return r.install(ctx, h, want, f, file)
}

func (r Installers) install(ctx context.Context, h *host.Host, want Installer, f found, file installerFile) (modules.Outcome, error) {
	var out modules.Outcome
	args := file.kind.Silent()
	if want.Scope != "" {
		scope, ok := file.kind.Scope(want.Scope)
		if !ok {
			return out, hint.New(fmt.Errorf("scope: installers of kind %s have no switch for it that is known", file.kind), "leave it out, and say it by `arguments`")
		}
		args = append(args, scope...)
	}
	args = append(args, want.Arguments...)
	if file.kind != setup.MSI {
		if len(args) == 0 {
			return out, hint.New(fmt.Errorf("%s: who made this installer isn't known, nor how to keep it from asking", want.Name),
				"its documentation names a switch for silent installation: give it as `arguments`")
		}
		out, err := r.run(ctx, h, want, "install", file.path, file.kind.Line(args))
		if err != nil {
			return out, err
		}
		return out, settle(ctx, h, want)
	}
	p, err := setup.OpenPackage(file.path)
	if err != nil {
		return out, err
	}
	if err := fits(want, p); err != nil {
		return out, err
	}
	installed, err := setup.Installed(p.ProductCode)
	if err != nil {
		return out, err
	}
	newer, err := newerThan(p, f.code)
	if err != nil {
		return out, err
	}
	for _, n := range newer {
		if !want.AllowDowngrade {
			return out, hint.New(fmt.Errorf("%s %s is there, which is newer than the package's %s", n.Name, n.Version, p.ProductVersion),
				"take a newer package, or add allowDowngrade: true to have %s removed first", n.code)
		}
		if out, err = r.msiexec(ctx, h, want, "remove", "/x", n.code, setup.MSI.Silent()); err != nil {
			return out, err
		}
		if n.code == p.ProductCode {
			installed = nil
		}
	}
	if installed != nil { // the same product in another version, or a damaged one
		args = append(args, "REINSTALL=ALL", "REINSTALLMODE=vomus")
	}
	then, err := r.msiexec(ctx, h, want, "install", "/i", file.path, args)
	if then.Reboot == "" {
		then.Reboot = out.Reboot
	}
	return then, err
}

// related is a product that a package would replace.
type related struct {
	code string
	setup.Product
}

// newerThan lists what is there in a newer version than the package's: the product that was found, and those with which the
// package shares an upgrade code, whatever they are called.
func newerThan(p setup.Package, found string) ([]related, error) {
	var codes []string
	if p.UpgradeCode != "" {
		var err error
		if codes, err = setup.Related(p.UpgradeCode); err != nil {
			return nil, err
		}
	}
	if found != "" {
		codes = append(codes, found)
	}
	var newer []related
	for i, code := range codes {
		if slices.ContainsFunc(codes[:i], func(c string) bool { return strings.EqualFold(c, code) }) {
			continue
		}
		old, err := setup.Installed(code)
		if err != nil {
			return nil, err
		}
		if old == nil {
			continue
		}
		if order, ok := setup.CompareVersions(old.Version, p.ProductVersion); ok && order > 0 {
			newer = append(newer, related{strings.ToUpper(code), *old})
		}
	}
	return newer, nil
}

// fits finds out before anything runs that a package is another one than declared.
func fits(want Installer, p setup.Package) error {
	if want.ProductCode != "" {
		if code, err := setup.CheckCode(want.ProductCode); err != nil || code != p.ProductCode {
			return hint.New(fmt.Errorf("the package is the product %s, %s %s, and not %s", p.ProductCode, p.ProductName, p.ProductVersion, code), "correct productCode, or take the other package")
		}
	}
	if want.Version != nil && want.File == "" && want.Registry == "" {
		if met, _ := versionMet(*want.Version, p.ProductVersion); !met {
			return hint.New(fmt.Errorf("the package has version %s of %s, and not %s", p.ProductVersion, p.ProductName, *want.Version), "correct version, or take the other package")
		}
	}
	return nil
}

func (r Installers) remove(ctx context.Context, h *host.Host, want Installer, f found) (modules.Outcome, error) {
	if f.code != "" {
		return r.msiexec(ctx, h, want, "remove", "/x", f.code, append(setup.MSI.Silent(), want.RemovalArguments...))
	}
	if f.entry == nil {
		return modules.Outcome{}, hint.New(fmt.Errorf("%s: nothing says how it is removed", want.Name), "add `entry` with the name under which Windows lists it, or its `productCode`")
	}
	line := f.entry.Quiet
	if line == "" {
		line = f.entry.Command
	}
	program, rest, err := setup.Program(line)
	if err != nil {
		return modules.Outcome{}, fmt.Errorf("uninstall entry %s: %w", f.entry.Key, err)
	}
	kind := setup.Kind(want.Kind)
	switch {
	case want.RemovalArguments != nil:
		rest = setup.EXE.Line(want.RemovalArguments)
	case f.entry.Quiet == "":
		if kind == "" {
			head, err := readHead(h, program)
			if err != nil {
				return modules.Outcome{}, fmt.Errorf("uninstall entry %s: %w", f.entry.Key, err)
			}
			kind = setup.Recognise(head)
		}
		silent := kind.SilentRemoval()
		if silent == nil {
			return modules.Outcome{}, hint.New(fmt.Errorf("%s: who made %s isn't known, nor how to keep it from asking", want.Name, program), "give its switches as `removalArguments`")
		}
		rest = strings.TrimSpace(rest + " " + kind.Line(silent))
	}
	out, err := r.run(ctx, h, want, "remove", program, rest)
	if err != nil {
		return out, err
	}
	return out, settle(ctx, h, want) // NSIS and Inno Setup go on in a copy of themselves
}

// settle waits until what was asked for can be seen. That it can't is said by whoever observes next.
func settle(ctx context.Context, h *host.Host, want Installer) error {
	for end := time.Now().Add(settleTime); ; {
		h.Forget()
		f, err := find(h, want)
		if err != nil || f.there == (want.State != modules.Absent) || time.Now().After(end) {
			return err
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// msiexec runs Windows Installer with a log, of which an error has the end.
func (r Installers) msiexec(ctx context.Context, h *host.Host, want Installer, what, verb, operand string, args []string) (modules.Outcome, error) {
	folder, err := ownFolder(h)
	if err != nil {
		return modules.Outcome{}, err
	}
	log := folder + `\` + fileName(want.Name) + ".log"
	line := setup.MSI.Line(append([]string{verb, operand}, args...)) + ` /l*v ` + setup.MSI.Line([]string{log})
	out, err := r.run(ctx, h, want, what, "msiexec.exe", line)
	if err != nil {
		if b, readErr := h.ReadFile(log); readErr == nil {
			if tail := setup.LogTail(h.Scrub(setup.LogText(b)), 8); tail != "" {
				err = fmt.Errorf("%w; its log says: %s", err, tail)
			}
		}
	}
	return out, errors.Join(err, setup.Drop(h, log))
}

// run runs an installer, and waits where another one is at work.
func (r Installers) run(ctx context.Context, h *host.Host, want Installer, what, program, line string) (modules.Outcome, error) {
	var out modules.Outcome
	cmd := host.Cmd{Args: []string{program, line}, Line: line}
	h.Step(what, want.Name)
	for end := time.Now().Add(busyTime); ; {
		res, err := h.Run(ctx, cmd)
		if err != nil {
			return out, err
		}
		code := int(uint32(res.Code))
		switch {
		case code == 0 || slices.ContainsFunc(want.ExitCodes, func(c int) bool { return int(uint32(c)) == code }): // also with a sign
			return out, nil
		case code == setup.RebootNeeded, code == setup.RebootStarted:
			out.Reboot = fmt.Sprintf("%s: %s (%d)", want.Name, setup.Words(code), code)
			return out, nil
		case code == setup.NotInstalled && what == "remove":
			return out, nil
		case code == setup.Busy && time.Now().Before(end):
			h.Log().Info("waiting for another installation to end", "installer", want.Name)
			if err := pause(ctx, busyPause); err != nil {
				return out, fmt.Errorf("%s: %s (%d): %w", want.Name, setup.Words(code), code, err)
			}
			continue
		}
		words := setup.Words(code)
		if words == "" {
			words = "no success"
		}
		err = fmt.Errorf("%s %s: exit code %d: %s", what, want.Name, code, words)
		if tail := host.LastLines(string(h.Scrubbed(res).Stderr)+string(h.Scrubbed(res).Stdout), 8); tail != "" {
			err = fmt.Errorf("%w: %s", err, tail)
		}
		if code == setup.Busy {
			return out, hint.New(err, "it was waited for %s; see which one it is, or restart the machine", busyTime)
		}
		return out, hint.New(err, "if the installer's documentation calls that a success, add it to `exitCodes`")
	}
}

// entryName is what an uninstall entry is looked for by, or "".
func (i Installer) entryName() string {
	if i.Entry == "" && i.ProductCode == "" && i.File == "" && i.Registry == "" {
		return i.Name
	}
	return i.Entry
}

// isEntry says whether a name is the one that is looked for.
func isEntry(pattern, name string) bool {
	if start, ok := strings.CutSuffix(pattern, "*"); ok {
		return len(name) >= len(start) && strings.EqualFold(name[:len(start)], start)
	}
	return strings.EqualFold(name, pattern)
}

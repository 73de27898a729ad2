package services

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
)

// Undo puts back the very links that enabled, named or masked a unit: others may have made them than its [Install] section
// asks for.

// linksAbout are the links in the folders of the machine's own units that are about a unit, and about those that are
// enabled along with it: what each points to, by its path.
func linksAbout(h *host.Host, name string) (map[string]string, error) {
	out := map[string]string{}
	return out, collectLinks(h, name, out, map[string]bool{})
}

func collectLinks(h *host.Host, name string, out map[string]string, done map[string]bool) error {
	if done[name] {
		return nil
	}
	done[name] = true
	u, ok, err := findUnit(h, name, 0)
	if err != nil {
		return err
	}
	names := []string{name}
	if ok {
		names = append(names, u.name, u.instance(u.name))
	}
	all, err := readFolders(h)
	if err != nil {
		return err
	}
	for _, dir := range []string{etcUnits, runUnits} {
		var paths []string
		for _, l := range all.links[dir] {
			if slices.Contains(names, path.Base(l)) {
				paths = append(paths, l)
			}
		}
		for n := range all.names[dir] {
			paths = append(paths, dir+"/"+n)
		}
		for _, p := range paths {
			i, err := h.Lstat(p)
			if err == nil && i.Kind == host.KindLink && (slices.Contains(names, path.Base(p)) || slices.Contains(names, path.Base(i.Target))) {
				out[p] = i.Target
			}
		}
	}
	for _, also := range u.also {
		if err := collectLinks(h, also, out, done); err != nil {
			return err
		}
	}
	return nil
}

// restoreLinks brings the links about a unit to want.Links, and removes the folders that were made for others.
func restoreLinks(h *host.Host, want Service) error {
	defer h.Forget()
	now, err := linksAbout(h, unitName(want.Name))
	if err != nil {
		return err
	}
	for p, target := range want.Links {
		if now[p] == target {
			continue
		}
		if err := mkdirs(h, path.Dir(p)); err != nil {
			return err
		}
		if err := h.Symlink(target, p); err != nil {
			return fmt.Errorf("enable %s: %w", want.Name, err)
		}
	}
	for p := range now {
		if _, ok := want.Links[p]; ok {
			continue
		}
		if err := h.Remove(p); err != nil {
			return err
		}
		if dir := path.Dir(p); dir != etcUnits && dir != runUnits {
			_ = h.Remove(dir) // as far as it is empty, as systemctl does
		}
	}
	for _, dir := range want.NoFolders {
		if names, err := h.ReadDir(dir); err == nil && len(names) == 0 {
			if err := h.Remove(dir); err != nil {
				return err
			}
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// missingFolders are those that enabling or masking a unit may make, the deepest first.
func missingFolders(h *host.Host, name string) []string {
	out := []string{}
	add := func(dir string) {
		for ; dir != "/" && !h.Exists(dir); dir = path.Dir(dir) {
			if !slices.Contains(out, dir) {
				out = append(out, dir)
			}
		}
	}
	add(etcUnits)
	done := map[string]bool{}
	var unit func(name string)
	unit = func(name string) {
		u, ok, err := findUnit(h, name, 0)
		if !ok || err != nil || done[name] {
			return
		}
		done[name] = true
		if u.masked != "" {
			u = beneath(h, u)
		}
		for _, l := range u.links() {
			add(path.Dir(etcUnits + "/" + l))
		}
		for _, also := range u.also {
			unit(also)
		}
	}
	unit(name)
	slices.Sort(out)
	slices.Reverse(out)
	return out
}

// beneath is the unit that a mask covers.
func beneath(h *host.Host, u unitFile) unitFile {
	for _, dir := range unitDirs {
		p := dir + "/" + u.name
		if i, err := h.Lstat(p); err == nil && i.Kind == host.KindFile && i.Size > 0 {
			if in, err := readInstall(h, p, u.name); err == nil {
				return unitFile{name: u.name, path: p, install: in}
			}
		}
	}
	return u
}

// Inverse puts back what want had set.
func (Services) Inverse(want, have Service) (Service, error) {
	if have.Start != nil || have.State == modules.Absent {
		return inverseOnWindows(want, have)
	}
	back := Service{Name: have.Name}
	if want.Enabled != nil || want.Masked != nil || want.Links != nil {
		back.Links, back.NoFolders = have.Links, have.NoFolders
	}
	if want.Enabled != nil {
		back.Enabled = have.Enabled
	}
	if want.Masked != nil {
		back.Masked = have.Masked
	}
	if want.Running != nil {
		if have.Running == nil {
			return back, fmt.Errorf("%s is %s just now: whether it should run is not known", have.Unit, have.Active)
		}
		back.Running = have.Running
	}
	return back, nil
}

var _ modules.Inverter[Service] = Services{}

package lab

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// FetchDebs is Fetch for use outside tests.
func (r *AptRepo) FetchDebs(ctx context.Context, packages ...string) error {
	base, err := r.lab.root(ctx, Debian)
	if err != nil {
		return err
	}
	dir, err := cacheDir("apt")
	if err != nil {
		return err
	}
	unlock, err := lockFile(ctx, dir+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	files, err := fetch(ctx, dir, base, packages)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", strings.Join(packages, " "), err)
	}
	for _, f := range files {
		if err := os.Link(f, filepath.Join(r.dir, "pool", filepath.Base(f))); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

var (
	installed = regexp.MustCompile(`(?m)^Inst (\S+) \((\S+) [^\[]*\[(\w+)\]`)
	errNoDebs = errors.New("the base has them already")
)

// fetch returns the files in the cache that bring the packages to a machine made of base. It remembers what apt answered: the
// cache is enough the next time.
func fetch(ctx context.Context, dir, base string, packages []string) ([]string, error) {
	key := sha256.Sum256([]byte(base + "\n" + strings.Join(slices.Sorted(slices.Values(packages)), "\n")))
	memo := filepath.Join(dir, fmt.Sprintf("%.6x.list", key))
	if b, err := os.ReadFile(memo); err == nil {
		files := strings.Fields(string(b))
		if !slices.ContainsFunc(files, func(f string) bool { return !exists(f) }) {
			return files, nil
		}
	}
	m, err := mirror(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	// A state of its own: what is installed is what the base has, and the host's apt is left alone.
	source := "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] " + m + " " + suite + " main\n"
	if err := os.WriteFile(filepath.Join(dir, "sources.list"), []byte(source), 0o644); err != nil {
		return nil, err
	}
	apt := func(args ...string) (string, error) {
		return output(ctx, "apt-get", append([]string{
			"-o", "Dir::State=" + filepath.Join(dir, "state"), "-o", "Dir::Cache=" + filepath.Join(dir, "cache"),
			"-o", "Dir::State::status=" + filepath.Join(base, "var/lib/dpkg/status"),
			"-o", "Dir::Etc::sourcelist=" + filepath.Join(dir, "sources.list"), "-o", "Dir::Etc::sourceparts=-",
			"-o", "APT::Install-Recommends=false", "-o", "APT::Sandbox::User=root", "-qq", "-y",
		}, args...)...)
	}
	updated := filepath.Join(dir, "updated")
	if info, err := os.Stat(updated); err != nil || time.Since(info.ModTime()) > 24*time.Hour {
		if _, err := apt("update"); err != nil {
			return nil, err
		}
		if err := os.WriteFile(updated, nil, 0o644); err != nil {
			return nil, err
		}
	}
	plan, err := apt(append([]string{"--simulate", "install"}, packages...)...)
	if err != nil {
		return nil, err
	}
	if _, err := apt(append([]string{"--download-only", "install"}, packages...)...); err != nil {
		return nil, err
	}
	var files []string
	for _, inst := range installed.FindAllStringSubmatch(plan, -1) {
		files = append(files, filepath.Join(dir, "cache/archives", debFile(inst[1], inst[2], inst[3])))
	}
	if len(files) == 0 {
		return nil, errNoDebs
	}
	for _, f := range files {
		if _, err := os.Stat(f); err != nil {
			return nil, err
		}
	}
	return files, os.WriteFile(memo, []byte(strings.Join(files, "\n")), 0o644)
}

package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/fitout-dev/fitout/modules/hint"
)

const suite = "bookworm" // of all machines but Wine's

// suite is the Debian release that a kind's root is made of.
func (k Kind) suite() string {
	if k == Wine {
		return "trixie" // the first whose Wine runs Go programs
	}
	return suite
}

//go:embed base.sh
var baseRecipe string

// cacheDir returns a folder of the lab's cache, made if it is missing.
func cacheDir(sub string) (string, error) {
	dir := os.Getenv("FITOUT_LAB_DIR")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			user = "/var/cache" // root without HOME
		}
		dir = filepath.Join(user, "fitout", "lab")
	}
	dir, err := filepath.Abs(filepath.Join(dir, sub))
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// lockFile takes the lock at path, which other processes respect too.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	var lockErr error
	err = await(ctx, "the lock "+path, func() bool {
		var ok bool
		ok, lockErr = tryLock(f)
		return ok || lockErr != nil
	})
	if err = errors.Join(err, lockErr); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// hostReady installs what the lab needs on this host and raises the limit that some 25 booted systemds use up.
func hostReady(ctx context.Context, log io.Writer) error {
	const limit = "/proc/sys/fs/inotify/max_user_instances"
	b, err := os.ReadFile(limit)
	if err != nil {
		return err
	}
	if n, _ := strconv.Atoi(strings.TrimSpace(string(b))); n < 4096 {
		if err := os.WriteFile(limit, []byte("4096"), 0o644); err != nil {
			return err
		}
	}
	return need(ctx, log, map[string]string{
		"systemd-nspawn": "systemd-container", "debootstrap": "debootstrap", "ip": "iproute2", "mkfs.ext4": "e2fsprogs",
		"nsenter": "util-linux", "apt-ftparchive": "apt-utils", "dpkg-deb": "dpkg",
	})
}

// need installs the packages whose programs are missing.
func need(ctx context.Context, log io.Writer, packageOf map[string]string) error {
	missing := func() (packages []string) {
		for program, pkg := range packageOf {
			if _, err := exec.LookPath(program); err != nil {
				packages = append(packages, pkg)
			}
		}
		return packages
	}
	if len(missing()) == 0 {
		return nil
	}
	dir, err := cacheDir(".")
	if err != nil {
		return err
	}
	unlock, err := lockFile(ctx, filepath.Join(dir, "host.lock"))
	if err != nil {
		return err
	}
	defer unlock()
	packages := missing()
	if len(packages) == 0 {
		return nil
	}
	fmt.Fprintf(log, "installing %s on this host\n", strings.Join(packages, " "))
	script := `export DEBIAN_FRONTEND=noninteractive; i="apt-get -o DPkg::Lock::Timeout=300 -qq -y --no-install-recommends install"
		$i "$@" || { apt-get -qq update; $i "$@"; }`
	err = run(ctx, "sh", append([]string{"-ec", script, "sh"}, packages...)...)
	return hint.New(err, "install them yourself: apt-get install %s", strings.Join(packages, " "))
}

// mirror is the one that this machine's own apt uses for the suite; it has the other suites too.
func mirror(ctx context.Context) (string, error) {
	if m := os.Getenv("FITOUT_LAB_MIRROR"); m != "" {
		return m, nil
	}
	out, err := output(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI)", "Codename: "+suite, "Created-By: Packages")
	if err != nil {
		return "", err
	}
	for m := range strings.Lines(out) {
		return strings.TrimSpace(m), nil
	}
	return "", hint.New(fmt.Errorf("this machine's apt has no mirror for %s", suite), "set FITOUT_LAB_MIRROR to a Debian mirror's URL, or run apt-get update")
}

// root returns the folder with the root file system of a kind, built if the cache lacks it, in the form of overlay's lowerdir.
func (l *Lab) root(ctx context.Context, kind Kind) (string, error) {
	suite, name := kind.suite(), "base"
	if kind == Wine {
		name = suite
	}
	base, err := l.cached(ctx, name, baseRecipe, func(dir string, log io.Writer) error {
		m, err := mirror(ctx)
		if err != nil {
			return err
		}
		return l.recipe(ctx, log, baseRecipe, dir, suite, m)
	})
	recipe := recipes[kind]
	if err != nil || recipe == "" {
		return base, err
	}
	recipe = layerRecipe + recipe
	root, err := l.cached(ctx, string(kind), baseRecipe+recipe, func(dir string, log io.Writer) error {
		m, err := mirror(ctx)
		if err != nil {
			return err
		}
		if err := run(ctx, "cp", "-a", "--reflink=auto", base+"/.", dir); err != nil {
			return err
		}
		return l.recipe(ctx, log, recipe, dir, suite, m)
	})
	if err != nil || kind != Wine {
		return root, err
	}
	tools, err := l.wineTools(ctx, root)
	return tools + ":" + root, err
}

// cached returns name's folder in the cache for this recipe. The process that finds it missing builds it while the others wait.
func (l *Lab) cached(ctx context.Context, name, recipe string, build func(dir string, log io.Writer) error) (string, error) {
	roots, err := cacheDir("roots")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(roots, fmt.Sprintf("%s-%.6x", name, sha256.Sum256([]byte(recipe))))
	now := time.Now()
	if _, err := os.Stat(dir); err == nil {
		_ = os.Chtimes(dir+".lock", now, now) // in use: see prune
		return dir, nil
	}
	unlock, err := lockFile(ctx, dir+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	fmt.Fprintf(l.log, "building the lab's root file system %q, once\n", name)
	prune(roots, name, dir)
	tmp := dir + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return "", err
	}
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return "", err
	}
	log, err := os.Create(dir + ".log")
	if err != nil {
		return "", err
	}
	defer log.Close()
	if err := build(tmp, log); err != nil {
		return "", hint.New(fmt.Errorf("build the lab's root file system %q: %w", name, err), "see %s", log.Name())
	}
	fmt.Fprintf(l.log, "built %q in %s\n", name, time.Since(now).Round(time.Second))
	return dir, os.Rename(tmp, dir)
}

// prune removes what older recipes made of name and nobody used for a week.
func prune(roots, name, except string) {
	locks, _ := filepath.Glob(filepath.Join(roots, name+"-*.lock"))
	for _, lock := range locks {
		dir := strings.TrimSuffix(lock, ".lock")
		if info, err := os.Stat(lock); err == nil && dir != except && time.Since(info.ModTime()) > 7*24*time.Hour {
			for _, f := range []string{dir, dir + ".tmp", dir + ".log", lock} {
				_ = os.RemoveAll(f)
			}
		}
	}
}

// recipe runs a shell script in a mount namespace of its own, so that no mount outlives it.
func (l *Lab) recipe(ctx context.Context, log io.Writer, script string, args ...string) error {
	args = append([]string{"--mount", "--propagation", "private", "sh", "-c", script, "sh"}, args...)
	cmd := exec.CommandContext(ctx, "unshare", args...)
	var tail bytes.Buffer
	cmd.Stdout, cmd.Stderr = log, io.MultiWriter(log, &tail)
	group(cmd)
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(tail.String()), "\n")
		return fmt.Errorf("%w: %s", err, strings.Join(lines[max(0, len(lines)-3):], "; "))
	}
	return nil
}

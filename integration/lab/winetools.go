package lab

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/fitout-dev/fitout/modules/hint"
)

// What the lab adds to Wine: files of its root (the names say where), and programs of our own for Windows.
var (
	//go:embed wintools/*.go
	wineSources embed.FS
	//go:embed wine
	wineFiles embed.FS
	// winePrograms are the names under which system32 has what wintools builds to.
	winePrograms = []string{"lab.exe", "tar.exe", "shutdown.exe", "wineboot.exe"}
)

const (
	winePrefix = "root/.wine"
	system32   = winePrefix + "/drive_c/windows/system32"
)

// wineTools returns a folder with what lies over Wine's root: another cache entry, so that a change here leaves Wine's alone.
func (l *Lab) wineTools(ctx context.Context, root string) (string, error) {
	var recipe strings.Builder
	for _, f := range []embed.FS{wineSources, wineFiles} {
		err := fs.WalkDir(f, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := f.ReadFile(name)
			fmt.Fprintf(&recipe, "%s\n%s\n", name, b)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	fmt.Fprintln(&recipe, winePrograms, filepath.Base(root))
	return l.cached(ctx, "winetools", recipe.String(), func(dir string, log io.Writer) error {
		if err := buildForWindows(ctx, log, wineSources, filepath.Join(dir, system32, winePrograms[0])); err != nil {
			return err
		}
		for _, name := range winePrograms[1:] {
			if err := os.Link(filepath.Join(dir, system32, winePrograms[0]), filepath.Join(dir, system32, name)); err != nil {
				return err
			}
		}
		files, err := fs.Sub(wineFiles, "wine")
		if err != nil {
			return err
		}
		if err := os.CopyFS(dir, files); err != nil {
			return err
		}
		script := `cd "$1"; chmod 755 usr/local/bin/*
			for unit in wine.service windows-shutdown.path; do ln -s ../$unit etc/systemd/system/multi-user.target.wants/; done
			mkdir -p "$2/drivers/etc"; ln -s "../$2/drivers/etc/hosts" etc/hosts
			cp -a "$3/$2/wineboot.exe" "$2/wineboot-real.exe"`
		return run(ctx, "sh", "-ec", "mkdir -p \"$1/etc/systemd/system/multi-user.target.wants\"; "+script, "sh", dir, system32, root)
	})
}

// buildForWindows builds a program of the standard library alone from embedded sources.
func buildForWindows(ctx context.Context, log io.Writer, sources embed.FS, to string) error {
	compiler, err := exec.LookPath("go")
	if err != nil {
		return hint.New(err, "the lab builds programs for its Windows machines: install Go")
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "fitout-lab-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(dir, sources); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module fitout-lab-wintools\n\ngo 1.26\n"), 0o644); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, compiler, "build", "-trimpath", "-ldflags=-s -w", "-o", to, "./wintools")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-buildvcs=false")
	cmd.Stdout, cmd.Stderr = log, log
	group(cmd)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build the lab's programs for Windows: %w", err)
	}
	return nil
}

var machineGUID = regexp.MustCompile(`(?m)^"MachineGuid"="[^"]*"`)

// personalizeWine gives a Windows machine what tells it from others of the same image.
func personalizeWine(root string) error {
	registry := filepath.Join(root, winePrefix, "system.reg")
	b, err := os.ReadFile(registry)
	if err != nil {
		return err
	}
	if !machineGUID.Match(b) {
		return errors.New("Wine's registry has no MachineGuid")
	}
	h := randomHex(16)
	guid := fmt.Sprintf(`"MachineGuid"="%s-%s-%s-%s-%s"`, h[:8], h[8:12], h[12:16], h[16:20], h[20:])
	return os.WriteFile(registry, machineGUID.ReplaceAll(b, []byte(guid)), 0o644)
}

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
	//go:embed wintools/*.go winssh/*.go winsftp/*.go winagent/*.go
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
		for _, b := range []struct{ source, goos, to string }{
			{"wintools", "windows", filepath.Join(system32, winePrograms[0])},
			{"winsftp", "windows", filepath.Join(system32, "sftp-server.exe")},
			{"winagent", "windows", filepath.Join(system32, "ssh-agent.exe")},
			{"winssh", "linux", "usr/local/bin/ssh-windows"},
		} {
			if err := build(ctx, log, b.source, b.goos, filepath.Join(dir, b.to)); err != nil {
				return fmt.Errorf("build %s: %w", b.source, err)
			}
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
		return run(ctx, "sh", "-ec", wineToolsScript, "sh", dir, system32, root)
	})
}

// wineToolsScript DIR SYSTEM32 ROOT: what is neither built nor a file of the lab's.
const wineToolsScript = `cd "$1"
	chmod 755 usr/local/bin/*
	wants=etc/systemd/system/multi-user.target.wants
	mkdir -p $wants
	for unit in wine.service windows-shutdown.path; do ln -s ../$unit $wants/; done
	for shell in cmd powershell; do ln -s ../ssh-windows@.service $wants/ssh-windows@$shell.service; done
	mkdir -p "$2/drivers/etc"
	ln -s "../$2/drivers/etc/hosts" etc/hosts
	cp -a "$3/$2/wineboot.exe" "$2/wineboot-real.exe"
	cp -a "$3/etc/passwd" "$3/etc/shadow" etc/
	echo "Administrator:x:0:0::/root:/bin/sh" >>etc/passwd
	echo "Administrator:*:20000:0:99999:7:::" >>etc/shadow`

// build builds one of the lab's programs: those of the standard library alone from what is embedded, the others in
// their place in the module, where a test's working folder is.
func build(ctx context.Context, log io.Writer, source, goos, to string) error {
	compiler, err := exec.LookPath("go")
	if err != nil {
		return hint.New(err, "the lab builds programs for its Windows machines: install Go")
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, compiler, "build", "-trimpath", "-ldflags=-s -w", "-o", to)
	if source == "winsftp" || source == "winagent" || source == "winrm/serve" {
		cmd.Args = append(cmd.Args, "github.com/fitout-dev/fitout/integration/lab/"+source)
	} else {
		dir, err := os.MkdirTemp("", "fitout-lab-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		if err := os.CopyFS(dir, wineSources); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module fitout-lab\n\ngo 1.26\n"), 0o644); err != nil {
			return err
		}
		cmd.Dir = dir
		cmd.Args = append(cmd.Args, "./"+source)
	}
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH=amd64", "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-buildvcs=false")
	cmd.Stdout, cmd.Stderr = log, log
	group(cmd)
	return cmd.Run()
}

var (
	machineGUID     = regexp.MustCompile(`(?m)^"MachineGuid"="[^"]*"`)
	windowsHostname = regexp.MustCompile(`(?m)^"Hostname"="[^"]*"`) // see wine/usr/local/bin/windows-name
)

// personalizeWine gives a Windows machine what tells it from others of the same image.
func personalizeWine(root, name string) error {
	registry := filepath.Join(root, winePrefix, "system.reg")
	b, err := os.ReadFile(registry)
	if err != nil {
		return err
	}
	if !machineGUID.Match(b) || !windowsHostname.Match(b) {
		return errors.New("the registry of Wine has no MachineGuid, or no Hostname")
	}
	h := randomHex(16)
	guid := fmt.Sprintf(`"MachineGuid"="%s-%s-%s-%s-%s"`, h[:8], h[8:12], h[12:16], h[16:20], h[20:])
	b = windowsHostname.ReplaceAll(machineGUID.ReplaceAll(b, []byte(guid)), []byte(`"Hostname"="`+name+`"`))
	return os.WriteFile(registry, b, 0o644)
}

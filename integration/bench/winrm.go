package main

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/fitout-dev/fitout/engine/transport"
	transportwinrm "github.com/fitout-dev/fitout/engine/transport/winrm"
	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/integration/lab/winrm"
)

// legacy lets OpenSSL 3 hash with MD4, of which NTLM is made.
const legacy = `openssl_conf = init
[init]
providers = providers
[providers]
default = on
legacy = on
[on]
activate = 1
`

//go:embed upload.py
var upload string

// winField is a field with one Windows machine, reached by WinRM: HTTP, sealed by NTLM, for everybody.
type winField struct {
	*field
	*lab.WinRM
	m *lab.Machine
}

func overWinRM(ctx context.Context, o *options) error {
	o.machines = 1
	base, err := openField(ctx, o, lab.Wine)
	if err != nil {
		return err
	}
	defer base.close()
	f := &winField{field: base, m: base.machines[0]}
	if f.WinRM, err = f.m.StartWinRM(ctx, winrm.Config{}); err != nil {
		return err
	}
	if err := f.prepare(ctx); err != nil {
		return err
	}
	apply := f.fitout("apply")
	apply.env = append(apply.env, "FITOUT_SECRET_ADMIN="+f.Password)
	all := []contestant{apply}
	if o.ansible && ansibleInstalled() {
		c := f.ansible()
		c.name, c.before = "Ansible's winrm connection, `raw` checks by cmd.exe", nil
		c.env = append(c.env, f.python()...)
		if err := c.run(ctx, f.field); err == nil || !strings.Contains(err.Error(), "non-zero return code") {
			return fmt.Errorf("what Ansible does checks nothing: a machine that lacks everything gave %v", err)
		}
		all = append(all, c)
	}
	if err := apply.run(ctx, f.field); err != nil { // pushes the executor, and changes
		return err
	}
	plan := contestant{name: "fitout plan", args: []string{f.binary, "plan", "-i", filepath.Join(f.dir, "inventory.yaml")}, env: apply.env}
	if err := plan.run(ctx, f.field); err != nil { // its exit code is 2 where something is left to do
		return err
	}
	if err := f.compare(ctx, fmt.Sprintf("no-op of %d resources over WinRM, HTTP sealed by NTLM", resources), all, nil); err != nil {
		return err
	}
	fmt.Print("\nAnsible's part is favoured: its modules need PowerShell, which the machine (Wine) doesn't have. So each resource is one\n",
		"`raw` task that only looks (`if exist`, `reg query`), and a small program stands in for the PowerShell around it.\n\n")
	if err := f.uploads(ctx); err != nil {
		return err
	}
	return f.contents(ctx)
}

// contents compares the ways of a large file: whole runs, from the start to the file that was hashed, synced and put in place.
func (f *winField) contents(ctx context.Context) error {
	const size = 50e6
	big := filepath.Join(f.dir, "big")
	inventory, err := os.ReadFile(filepath.Join(f.dir, "inventory.yaml"))
	if err != nil {
		return err
	}
	var all []contestant
	for _, way := range []struct{ name, connect string }{{"fetched by the device", ""}, {"sent in WinRM's messages (`pull: false`)", ", pull: false"}} {
		c := f.fitout("apply")
		file := filepath.Join(f.dir, fmt.Sprintf("inventory-%d.yaml", len(all)))
		text := strings.NewReplacer("site.yaml", "big.yaml", "tls: false", "tls: false"+way.connect).Replace(string(inventory))
		if err := write(file, []byte(text)); err != nil {
			return err
		}
		c.name, c.args[len(c.args)-1] = "**fitout apply**, "+way.name, file
		c.env = append(c.env, "FITOUT_SECRET_ADMIN="+f.Password)
		c.after = func(context.Context) error { return same(big, f.m.WindowsPath(`C:\big`)) }
		all = append(all, c)
	}
	if err := write(filepath.Join(f.dir, "big.yaml"), []byte("profile: big\nfiles: [{path: 'C:\\big', source: big}]\n")); err != nil {
		return err
	}
	took := make([][]float64, len(all))
	for range min(f.o.reps, 3) {
		for i, c := range all {
			if err := randomFile(big, size); err != nil { // the device has the one before
				return err
			}
			m, err := c.measure(ctx, f.field)
			if err != nil {
				return err
			}
			took[i] = append(took[i], m.wall)
			fmt.Fprintf(os.Stderr, "%s: %.2f s\n", c.name, m.wall)
		}
	}
	fmt.Printf("\n| a file of %.0f MB over WinRM, HTTP sealed by NTLM | s | MB/s |\n|---|---|---|\n", size/1e6)
	for i, c := range all {
		fmt.Printf("| %s | %.2f | %.3g |\n", c.name, median(took[i]), size/1e6/median(took[i]))
	}
	return nil
}

// same compares two files.
func same(a, b string) error {
	first, err := os.ReadFile(a)
	if err != nil {
		return err
	}
	second, err := os.ReadFile(b)
	if err == nil && !bytes.Equal(first, second) {
		err = fmt.Errorf("%s isn't what %s is", b, a)
	}
	return err
}

func (f *winField) prepare(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", filepath.Join(f.dir, "winshell.exe"), "github.com/fitout-dev/fitout/integration/bench/winshell")
	cmd.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build winshell: %w: %s", err, out)
	}
	program, err := os.ReadFile(filepath.Join(f.dir, "winshell.exe"))
	if err != nil {
		return err
	}
	f.playbook = string(winPlaybook)
	// Wine has a powershell.exe that does nothing, successfully, and prefers it.
	if _, err := f.m.Windows(ctx, "reg", "add", `HKCU\Software\Wine\DllOverrides`, "/v", "powershell.exe", "/d", "native", "/f").Output(); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(f.m.WindowsPath(`C:\windows\system32\powershell.exe`), program, 0o755),
		write(filepath.Join(f.dir, "site.yaml"), winsite),
		write(filepath.Join(f.dir, "inventory.yaml"), fmt.Appendf(nil, "defaults: {profile: site.yaml, connect: {transport: winrm, auth: ntlm, tls: false, password: '${secrets.admin}'}}\n"+
			"devices: {%s: {address: %s, user: %s}}\n", f.m.Name, f.m.Addr, f.User)),
		write(filepath.Join(f.dir, "hosts"), fmt.Appendf(nil, "%s ansible_host=%s ansible_connection=winrm ansible_port=5985 ansible_winrm_scheme=http ansible_winrm_transport=ntlm ansible_user=%s ansible_password=%s\n",
			f.m.Name, f.m.Addr, f.User, f.Password)),
		write(filepath.Join(f.dir, "ansible.cfg"), fmt.Appendf(nil, "[defaults]\nlocal_tmp=%s/tmp\n", f.dir)),
		write(filepath.Join(f.dir, "openssl.cnf"), []byte(legacy)),
	)
}

// python is the environment that pywinrm needs.
func (f *winField) python() []string {
	return []string{"OPENSSL_CONF=" + filepath.Join(f.dir, "openssl.cnf"), "PYTHONWARNINGS=ignore", "REQUESTS_CA_BUNDLE="}
}

// uploads compares ways to bring bytes to the machine, by turns. None of them writes a file that is decoded and checked.
func (f *winField) uploads(ctx context.Context) error {
	ways := []struct {
		name string
		size int
		send func(ctx context.Context, size int) (time.Duration, error)
		took []float64 // MB/s
	}{
		{name: "**fitout's transport**: a program's stdin", size: 8e6, send: f.stream},
		{name: "pywinrm, as Ansible's put_file: base64 lines to a program's stdin", size: 2e6, send: f.pywinrm("stdin")},
		{name: "pywinrm, as scripts do: base64 in command lines of 8,000 characters", size: 120_000, send: f.pywinrm("lines")},
	}
	if !f.o.ansible || exec.CommandContext(ctx, "/usr/bin/python3", "-c", "import winrm").Run() != nil {
		ways = ways[:1]
	}
	for range min(f.o.reps, 3) {
		for i := range ways {
			w := &ways[i]
			took, err := w.send(ctx, w.size)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			w.took = append(w.took, float64(w.size)/1e6/took.Seconds())
			fmt.Fprintf(os.Stderr, "%s: %d bytes in %v\n", w.name, w.size, took)
		}
	}
	fmt.Print("| upload over WinRM, HTTP sealed by NTLM | of bytes | MB/s | fitout is faster by |\n|---|---|---|---|\n")
	us := median(ways[0].took)
	for _, w := range ways {
		fmt.Printf("| %s | %d | %.3g | %.3g x |\n", w.name, w.size, median(w.took), us/median(w.took))
	}
	return nil
}

// stream sends bytes as the executor is sent, to a program that counts them.
func (f *winField) stream(ctx context.Context, size int) (time.Duration, error) {
	plain := false
	c, err := transportwinrm.Dial(ctx, transportwinrm.Options{Device: f.m.Name, Address: f.m.Addr, User: f.User, Auth: "ntlm", TLS: &plain,
		Password: func() (string, error) { return f.Password, nil }})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	start := time.Now()
	p, err := c.Start(ctx, transport.Command{Line: "powershell.exe count"})
	if err != nil {
		return 0, err
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.CopyN(p.Stdin(), rand.Reader, int64(size))
		sent <- errors.Join(err, p.Stdin().Close())
	}()
	out, readErr := io.ReadAll(p.Stdout())
	exit, err := p.Wait()
	took := time.Since(start)
	if err := errors.Join(<-sent, readErr, err); err != nil {
		return 0, fmt.Errorf("%w: exit code %d, printed %q: %s", err, exit.Code, out, exit.Stderr)
	}
	if exit.Code != 0 || string(out) != fmt.Sprint(size) {
		return 0, fmt.Errorf("exit code %d, %q of %d bytes arrived: %s", exit.Code, out, size, exit.Stderr)
	}
	return took, nil
}

func (f *winField) pywinrm(way string) func(context.Context, int) (time.Duration, error) {
	return func(ctx context.Context, size int) (time.Duration, error) {
		cmd := exec.CommandContext(ctx, "/usr/bin/python3", "-c", upload, "http://"+f.m.Addr+":5985/wsman", f.User, way, fmt.Sprint(size))
		cmd.Env = append(os.Environ(), f.python()...)
		cmd.Stdin = strings.NewReader(f.Password)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return 0, fmt.Errorf("pywinrm: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
		}
		var sent int
		var took float64
		if _, err := fmt.Sscan(string(out), &sent, &took); err != nil || sent != size {
			return 0, fmt.Errorf("pywinrm printed %q", out)
		}
		return time.Duration(took * float64(time.Second)), nil
	}
}

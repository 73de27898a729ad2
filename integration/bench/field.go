package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/fitout-dev/fitout/integration/lab"
)

// field is where the runs take place: machines, and what is needed to reach them.
type field struct {
	o        *options
	lab      *lab.Lab
	machines []*lab.Machine
	dir      string // the runs' files
	home     string
	binary   string
	playbook string
	repo     *lab.AptRepo
}

// openField boots machines of one kind; after an error there is nothing to close.
func openField(ctx context.Context, o *options, kind lab.Kind) (f *field, err error) {
	f = &field{o: o, playbook: string(playbook), binary: o.binary}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	if f.dir, err = os.MkdirTemp("", "fitout-bench-"); err != nil {
		return f, err
	}
	if f.binary == "" {
		f.binary = filepath.Join(f.dir, "fitout")
		if err := build(ctx, f.binary); err != nil {
			return f, err
		}
	} else if f.binary, err = filepath.Abs(f.binary); err != nil {
		return f, err
	}
	if f.lab, err = lab.Open(ctx, lab.Options{Log: os.Stderr}); err != nil {
		return f, err
	}
	if f.machines, err = f.lab.Boot(ctx, o.machines, kind); err != nil {
		return f, err
	}
	f.home = filepath.Join(f.dir, "home")
	return f, nil
}

// newField has Debian machines, reached by ssh.
func newField(ctx context.Context, o *options, profile []byte) (f *field, err error) {
	if f, err = openField(ctx, o, lab.Debian); err != nil {
		return f, err
	}
	var inventory, hosts strings.Builder
	fmt.Fprintf(&inventory, "defaults: {profile: site.yaml, connect: {transport: ssh, identityFile: %s}}\ndevices:\n", f.lab.KeyFile)
	for _, m := range f.machines {
		fmt.Fprintf(&inventory, "  %s: {address: %s, user: root}\n", m.Name, m.Addr)
		fmt.Fprintf(&hosts, "%s ansible_host=%s ansible_user=root ansible_ssh_private_key_file=%s ansible_ssh_common_args='-o UserKnownHostsFile=%s'\n", m.Name, m.Addr, f.lab.KeyFile, f.lab.KnownHosts)
	}
	err = errors.Join(
		f.trust(),
		write(filepath.Join(f.dir, "site.yaml"), profile),
		write(filepath.Join(f.dir, "inventory.yaml"), []byte(inventory.String())),
		write(filepath.Join(f.dir, "hosts"), []byte(hosts.String())),
		write(filepath.Join(f.dir, "ansible.cfg"), fmt.Appendf(nil, "[defaults]\nforks=20\ninterpreter_python=/usr/bin/python3\nlocal_tmp=%s/tmp\n[ssh_connection]\npipelining=True\ncontrol_path_dir=%[1]s/cp\n", f.dir)),
	)
	if err != nil {
		f.close()
	}
	return f, err
}

func write(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

func (f *field) close() {
	if f.lab != nil {
		f.lab.Close()
	}
	if f.dir != "" {
		os.RemoveAll(f.dir)
	}
}

// build makes a release of the source that the current folder is in.
func build(ctx context.Context, out string) error {
	module, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("find the source: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "run", "./engine/executor/bundle/make", "-release", out)
	cmd.Dir, cmd.Stdout, cmd.Stderr = strings.TrimSpace(string(module)), os.Stderr, os.Stderr
	return cmd.Run()
}

// each runs a script on all machines, by a way that the runs don't use.
func (f *field) each(ctx context.Context, script string) error {
	return f.all(func(m *lab.Machine) error {
		_, err := m.Exec(ctx, script)
		return err
	})
}

// reset makes all machines as new, with other host keys.
func (f *field) reset(ctx context.Context) error {
	if err := f.all(func(m *lab.Machine) error { return m.Reset(ctx) }); err != nil {
		return err
	}
	return f.trust()
}

// trust has the user know the machines.
func (f *field) trust() error {
	known, err := os.ReadFile(f.lab.KnownHosts)
	if err != nil {
		return err
	}
	return write(filepath.Join(f.home, ".ssh", "known_hosts"), known)
}

func (f *field) all(do func(*lab.Machine) error) error {
	errs := make([]error, len(f.machines))
	var work sync.WaitGroup
	for i, m := range f.machines {
		work.Go(func() { errs[i] = do(m) })
	}
	work.Wait()
	return errors.Join(errs...)
}

func (f *field) addresses() []string {
	var out []string
	for _, m := range f.machines {
		out = append(out, m.Addr)
	}
	return out
}

// contestant is one way to do the work: a command that is started anew each time.
type contestant struct {
	name string
	args []string
	env  []string
	once bool // too slow for more
	// before and after aren't measured.
	before, after func(context.Context) error
}

func (f *field) ssh() contestant {
	script := fmt.Sprintf("printf '%%s\\n' %s | xargs -P %d -I{} ssh -o BatchMode=yes -o UserKnownHostsFile=%s -i %s root@{} true",
		strings.Join(f.addresses(), " "), len(f.machines), f.lab.KnownHosts, f.lab.KeyFile)
	return contestant{name: "`ssh HOST true`", args: []string{"sh", "-c", script}}
}

// sftp puts a file, and leaves it to the device when that reaches the disk; synced waits for that, as fitout does.
func (f *field) sftp(file string, synced bool) contestant {
	name, put := "OpenSSH's sftp", "put"
	if synced {
		name, put = "OpenSSH's sftp, with fsync", "put -f"
	}
	script := fmt.Sprintf("echo '%s %s /root/big' | sftp -q -b - -o UserKnownHostsFile=%s -i %s root@%s", put, file, f.lab.KnownHosts, f.lab.KeyFile, f.machines[0].Addr)
	return contestant{name: name, args: []string{"sh", "-c", script}}
}

func (f *field) floor(what string, more ...string) contestant {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	args := append([]string{self, floorCommand, what, "-key", f.lab.KeyFile, "-known", f.lab.KnownHosts}, more...)
	name := "Go: dial, exec `true`"
	if what == "put" {
		name = "Go: dial, stream to `cat`"
	}
	return contestant{name: name, args: append(args, f.addresses()...)}
}

func (f *field) fitout(command string) contestant {
	return contestant{
		name: "**fitout " + command + "**",
		args: []string{f.binary, command, "--yes", "--json", "-i", filepath.Join(f.dir, "inventory.yaml")},
		env:  []string{"HOME=" + f.home, "XDG_STATE_HOME=", "XDG_CONFIG_HOME=", "SSH_AUTH_SOCK="},
	}
}

func ansibleInstalled() bool {
	_, err := exec.LookPath("ansible-playbook")
	return err == nil
}

func (f *field) ansible() contestant {
	file := filepath.Join(f.dir, "site.yml")
	if err := write(file, []byte(f.playbook)); err != nil {
		file = err.Error() // Ansible will say so
	}
	return contestant{
		name: "Ansible, pipelining", once: true, before: f.python,
		args: []string{"ansible-playbook", "-i", filepath.Join(f.dir, "hosts"), file},
		env:  []string{"ANSIBLE_CONFIG=" + filepath.Join(f.dir, "ansible.cfg"), "ANSIBLE_NOCOLOR=1", "LC_ALL=C.UTF-8", "HOME=" + f.home},
	}
}

// python puts on the machines what Ansible needs there.
func (f *field) python(ctx context.Context) error {
	if f.repo == nil {
		repo, err := f.lab.OpenAptRepo(lab.Main)
		if err != nil {
			return err
		}
		if err := errors.Join(repo.FetchDebs(ctx, "python3"), repo.PublishIndex(ctx)); err != nil {
			return err
		}
		f.repo = repo
	}
	return f.all(func(m *lab.Machine) error {
		if _, err := m.Exec(ctx, "test -x /usr/bin/python3"); err == nil {
			return nil
		}
		if err := f.repo.AddTo(ctx, m); err != nil {
			return err
		}
		_, err := m.Exec(ctx, "apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends python3")
		return err
	})
}

func randomFile(path string, size int64) error {
	w, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.CopyN(w, rand.Reader, size)
	return errors.Join(err, w.Close())
}

func seconds(s float64) string { return strconv.FormatFloat(s, 'f', 3, 64) }

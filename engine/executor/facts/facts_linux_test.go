package facts

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/integration/lab"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/google/go-cmp/cmp"
)

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(target, p)
		} else {
			err = os.WriteFile(p, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestFilesOfAnImage(t *testing.T) {
	root := tree(t, map[string]string{
		"etc/os-release": "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nID=debian\n",
		"etc/hostname":   "pc-7\n",
		"etc/hosts":      "127.0.0.1 localhost\n127.0.1.1 pc-7.example.lan pc-7 # the installer's\n",
		"etc/localtime":  "-> ../usr/share/zoneinfo/Europe/Luxembourg",
	})
	f := Gather(host.New(root))
	for k, want := range map[string]any{"os": "linux", "distribution": "debian", "version": "12", "codename": "bookworm", "hostname": "pc-7", "domain": "example.lan", "timezone": "Europe/Luxembourg"} {
		if f[k] != want {
			t.Errorf("%s is %v, want %v", k, f[k], want)
		}
	}
	for _, k := range []string{"kernel", "memory", "bootTime", "virtual", "addresses", "serial"} {
		if f[k] != nil {
			t.Errorf("%s of this machine is told of an image: %v", k, f[k])
		}
	}
}

func TestDomain(t *testing.T) {
	for _, c := range []struct{ name, hosts, want string }{
		{"pc", "", ""}, {"pc", "127.0.1.1 pc\n", ""}, {"pc", "127.0.1.1 pc.lan pc", "lan"}, {"pc", "# 1.2.3.4 pc.old\n10.0.0.1\tother.lan pc2.lan\n::1 x pc.a.b", "a.b"}, {"", "1.1.1.1 .lan", ""},
	} {
		if got := domainOf(c.name, c.hosts); got != c.want {
			t.Errorf("%q in %q: %q, want %q", c.name, c.hosts, got, c.want)
		}
	}
}

// The files are those of real machines of each kind, cut to what is read.
func TestMachines(t *testing.T) {
	common := map[string]string{"proc/meminfo": "MemTotal:       16326428 kB\nMemFree: 1 kB\n", "proc/stat": "cpu 1 2 3\nintr " + strings.Repeat("0 ", 5000) + "\nctxt 7\nbtime 1700000000\nprocesses 9\n",
		"proc/sys/kernel/osrelease": "6.1.0-18-amd64\n", "proc/self/ns/pid": "-> " + firstNamespace}
	disk := map[string]string{"sys/block/sda/size": "1953525168\n", "sys/block/sda/device/model": "Samsung SSD 870 \n", "sys/block/sda/queue/rotational": "0\n",
		"sys/block/loop0/size": "100\n", "sys/block/dm-0/size": "1000\n", "sys/block/sdb/size": "0\n", "sys/block/sdb/device/model": "card reader"}
	cpu := func(flags string) string {
		return "processor\t: 0\nmodel name\t: Intel(R) Core(TM)  i7\nflags\t\t: fpu vme " + flags + "\n"
	}
	always := map[string]any{"kernel": "6.1.0-18-amd64", "memory": int64(16326428) << 10, "bootTime": "2023-11-14T22:13:20Z"}
	for name, c := range map[string]struct {
		files map[string]string
		want  map[string]any
	}{
		"a laptop": {map[string]string{"sys/class/dmi/id/sys_vendor": "LENOVO\n", "sys/class/dmi/id/product_name": "20XW\n", "sys/class/dmi/id/product_serial": "PF3ABCDE\n", "sys/class/dmi/id/bios_version": "N32ET75W\n", "proc/cpuinfo": cpu("sse2")},
			map[string]any{"virtual": "", "vendor": "LENOVO", "model": "20XW", "serial": "PF3ABCDE", "biosVersion": "N32ET75W", "cpu": "Intel(R) Core(TM) i7"}},
		"a board nobody named": {map[string]string{"sys/class/dmi/id/sys_vendor": "To Be Filled By O.E.M.\n", "sys/class/dmi/id/product_name": "Default string\n", "sys/class/dmi/id/product_serial": "0\n"}, map[string]any{"virtual": ""}},
		"disks":                {disk, map[string]any{"virtual": "", "disks": []any{map[string]any{"name": "sda", "size": int64(1953525168 * 512), "model": "Samsung SSD 870", "rotational": false}}}},
		"one that is trusted": {map[string]string{"sys/class/power_supply/BAT0/type": "Battery\n", "sys/class/power_supply/BAT0/capacity": "87\n", "sys/class/power_supply/AC/type": "Mains\n", "sys/class/power_supply/AC/online": "1\n",
			"sys/class/tpm/tpm0/tpm_version_major": "2\n", "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c": "\x06\x00\x00\x00\x01"},
			map[string]any{"virtual": "", "battery": map[string]any{"percent": 87, "mains": true}, "tpm": "2.0", "secureBoot": true}},
		"people": {map[string]string{"run/systemd/sessions/1": "USER=carol\nCLASS=user\nSTATE=active\nSCOPE=session-1.scope\n", "run/systemd/sessions/2": "USER=bob\nCLASS=user\nSTATE=online\nSCOPE=session-2.scope\n",
			"run/systemd/sessions/3": "USER=root\nCLASS=user\nSTATE=active\nSCOPE=session-3.scope\n", "run/systemd/sessions/c1": "USER=gdm\nCLASS=greeter\nSTATE=active\n", "run/systemd/sessions/4": "USER=bob\nCLASS=user\nSTATE=active\n",
			"run/systemd/sessions/5": "USER=eve\nCLASS=user\nSTATE=closing\n", "proc/self/cgroup": "0::/user.slice/user-0.slice/session-3.scope\n"}, map[string]any{"virtual": "", "loggedOn": []string{"bob", "carol"}}},
		"QEMU":           {map[string]string{"sys/class/dmi/id/sys_vendor": "QEMU\n", "sys/class/dmi/id/product_name": "Standard PC (Q35 + ICH9, 2009)\n"}, map[string]any{"virtual": "qemu", "vendor": "QEMU", "model": "Standard PC (Q35 + ICH9, 2009)"}},
		"VMware":         {map[string]string{"sys/class/dmi/id/sys_vendor": "VMware, Inc.\n", "sys/class/dmi/id/product_name": "VMware7,1\n"}, map[string]any{"virtual": "vmware", "vendor": "VMware, Inc.", "model": "VMware7,1"}},
		"Hyper-V":        {map[string]string{"sys/class/dmi/id/sys_vendor": "Microsoft Corporation\n", "sys/class/dmi/id/product_name": "Virtual Machine\n"}, map[string]any{"virtual": "hyper-v", "vendor": "Microsoft Corporation", "model": "Virtual Machine"}},
		"a Surface":      {map[string]string{"sys/class/dmi/id/sys_vendor": "Microsoft Corporation\n", "sys/class/dmi/id/product_name": "Surface Pro\n"}, map[string]any{"virtual": "", "vendor": "Microsoft Corporation", "model": "Surface Pro"}},
		"EC2":            {map[string]string{"sys/class/dmi/id/sys_vendor": "Amazon EC2\n", "sys/class/dmi/id/product_name": "t3.micro\n"}, map[string]any{"virtual": "amazon", "vendor": "Amazon EC2", "model": "t3.micro"}},
		"EC2, bare":      {map[string]string{"sys/class/dmi/id/sys_vendor": "Amazon EC2\n", "sys/class/dmi/id/product_name": "m5.metal\n"}, map[string]any{"virtual": "", "vendor": "Amazon EC2", "model": "m5.metal"}},
		"Xen":            {map[string]string{"sys/hypervisor/type": "xen\n"}, map[string]any{"virtual": "xen"}},
		"an ARM guest":   {map[string]string{"proc/device-tree/hypervisor/compatible": "linux,kvm\x00", "proc/device-tree/model": "linux,dummy-virt\x00"}, map[string]any{"virtual": "kvm", "model": "linux,dummy-virt"}},
		"a Raspberry Pi": {map[string]string{"proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\x00", "proc/device-tree/serial-number": "10000000abcdef01\x00"}, map[string]any{"virtual": "", "model": "Raspberry Pi 4 Model B Rev 1.4", "serial": "10000000abcdef01"}},
		"no firmware":    {map[string]string{"proc/cpuinfo": cpu("hypervisor lahf_lm"), ".dockerenv": ""}, map[string]any{"virtual": "vm", "cpu": "Intel(R) Core(TM) i7"}},
		"nspawn":         {map[string]string{"run/systemd/container": "systemd-nspawn\n", "sys/class/dmi/id/product_serial": "the host's\n", "sys/block/sda/size": "1000\n", "sys/block/sda/device/model": "the host's\n"}, map[string]any{"virtual": "systemd-nspawn"}},
		"LXC":            {map[string]string{"proc/1/environ": "PATH=/bin\x00container=lxc\x00"}, map[string]any{"virtual": "lxc"}},
		"Docker":         {map[string]string{".dockerenv": "", "proc/self/ns/pid": "-> pid:[4026532999]"}, map[string]any{"virtual": "docker"}},
		"Podman":         {map[string]string{"run/.containerenv": "engine=\"podman\"\n"}, map[string]any{"virtual": "podman"}},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{}
			want := map[string]any{}
			for k, v := range common {
				files[k] = v
			}
			for k, v := range c.files {
				files[k] = v
			}
			for k, v := range always {
				want[k] = v
			}
			for k, v := range c.want {
				want[k] = v
			}
			got := map[string]any{}
			machine{tree(t, files)}.gather(got)
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// Go's own net package is asked the same.
func TestNetwork(t *testing.T) {
	f := map[string]any{}
	network(f)
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Skip(err)
	}
	got := map[string]map[string]any{}
	list, _ := f["interfaces"].([]any)
	for _, i := range list {
		m := i.(map[string]any)
		got[m["name"].(string)] = m
	}
	all, _ := f["addresses"].([]string)
	for _, i := range interfaces {
		if i.Flags&net.FlagLoopback != 0 {
			if got[i.Name] != nil {
				t.Errorf("%s is listed", i.Name)
			}
			continue
		}
		m := got[i.Name]
		if m == nil {
			if len(interfaces) <= maxInterfaces { // they may come and go
				if _, err := net.InterfaceByName(i.Name); err == nil && !strings.HasPrefix(i.Name, "v") {
					t.Errorf("%s is missing", i.Name)
				}
			}
			continue
		}
		if hw := i.HardwareAddr.String(); len(i.HardwareAddr) == 6 && m["mac"] != hw {
			t.Errorf("%s has %v, want %s", i.Name, m["mac"], hw)
		}
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			n := a.(*net.IPNet)
			if n.IP.IsLinkLocalUnicast() {
				continue
			}
			if own, _ := m["addresses"].([]string); !slices.Contains(own, n.String()) || !slices.Contains(all, n.IP.String()) {
				t.Errorf("%s lacks %s: %v", i.Name, n, m)
			}
		}
	}
}

func TestOnAMachine(t *testing.T) {
	l := lab.New(t)
	m := l.Machine(t, lab.Debian)
	build := exec.Command("go", "test", "-c", "-o", filepath.Join(m.Root(), "usr/local/bin/facts.test"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := m.Exec(ctx, "FITOUT_TEST_FACTS=1 /usr/local/bin/facts.test")
	if err != nil {
		t.Fatal(err)
	}
	var f map[string]any
	if err := json.Unmarshal([]byte(out), &f); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for fact, script := range map[string]string{
		"hostname": "uname -n", "kernel": "uname -r", "distribution": ". /etc/os-release; echo $ID", "version": ". /etc/os-release; echo $VERSION_ID",
		"cpus": "nproc", "virtual": "cat /run/systemd/container", "mac": "cat /sys/class/net/host0/address", "address": "hostname -I | cut -d' ' -f1",
		"memory": "echo $(( $(sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo) * 1024 ))",
	} {
		want, err := m.Exec(ctx, script)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		switch v := f[fact].(type) {
		case string:
			got = v
		case float64:
			got = strconv.FormatFloat(v, 'f', -1, 64)
		default:
			b, _ := json.Marshal([]any{f["interfaces"], f["addresses"]})
			if got = string(b); strings.Contains(got, `"`+strings.TrimSpace(want)+`"`) {
				got = strings.TrimSpace(want)
			}
		}
		if got != strings.TrimSpace(want) {
			t.Errorf("%s is %s, want %s", fact, got, want)
		}
	}
	if f["serial"] != nil || f["disks"] != nil {
		t.Errorf("a container tells of the host's hardware: %v", f)
	}
}

// What Wine says of itself is asked of its own tools, too.
func TestOnWindows(t *testing.T) {
	m := lab.New(t).Machine(t, lab.Wine)
	const program = `C:\facts.test.exe`
	build := exec.Command("go", "test", "-c", "-o", m.WindowsPath(program), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=windows", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const uninstall = `HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall\`
	m.RunWindows(t, "reg", "add", uninstall+"Editor", "/v", "DisplayName", "/d", "Example Editor", "/f")
	m.RunWindows(t, "reg", "add", uninstall+"Editor", "/v", "DisplayVersion", "/d", "2.1", "/f")
	m.RunWindows(t, "reg", "add", uninstall+"Part", "/v", "DisplayName", "/d", "A part", "/f")
	m.RunWindows(t, "reg", "add", uninstall+"Part", "/v", "SystemComponent", "/t", "REG_DWORD", "/d", "1", "/f")
	m.RunWindows(t, "reg", "add", `HKLM\SYSTEM\CurrentControlSet\Control\SecureBoot\State`, "/v", "UEFISecureBootEnabled", "/t", "REG_DWORD", "/d", "1", "/f")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := m.Windows(ctx, program)
	c.Env = []string{"FITOUT_TEST_FACTS=1"}
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	var f map[string]any
	if err := json.Unmarshal([]byte(out), &f); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	checkFacts(t, f)
	for fact, want := range map[string]any{"os": "windows", "distribution": "windows", "secureBoot": true, "hostname": m.RunWindows(t, "hostname"),
		"prettyName": "Windows 10 Pro", "edition": "Professional"} {
		if name, ok := want.(string); !(ok && strings.EqualFold(name, fmt.Sprint(f[fact]))) && f[fact] != want {
			t.Errorf("%s is %v, want %v", fact, f[fact], want)
		}
	}
	if ver := m.RunWindows(t, "cmd", "/c", "ver"); !strings.Contains(ver, fmt.Sprint(f["version"])) {
		t.Errorf("version %v, but cmd.exe says %s", f["version"], ver)
	}
	kb, err := m.Exec(ctx, "sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	memory, _ := f["memory"].(float64)
	if n, _ := strconv.ParseFloat(kb, 64); math.Abs(memory-n*1024) > 1<<20 {
		t.Errorf("memory is %v, the kernel says %s kB", f["memory"], kb)
	}
	boot, err := time.Parse(time.RFC3339, fmt.Sprint(f["bootTime"]))
	if err != nil || time.Since(boot) < 0 {
		t.Errorf("bootTime is %v", f["bootTime"])
	}
	if b, _ := json.Marshal(f["addresses"]); !strings.Contains(string(b), `"`+m.Addr+`"`) {
		t.Errorf("addresses are %s, without %s", b, m.Addr)
	}
	applications, _ := json.Marshal(f["applications"])
	if text := string(applications); !strings.Contains(text, `{"name":"Example Editor","version":"2.1"}`) || strings.Contains(text, "A part") {
		t.Errorf("applications are %s", text)
	}
}

func BenchmarkGather(b *testing.B) {
	h := host.New("/")
	for b.Loop() {
		Gather(h)
	}
}

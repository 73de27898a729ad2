package facts

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/fitout-dev/fitout/modules/fuzzing"
	"github.com/fitout-dev/fitout/modules/host"
)

// Whatever the files of a root hold, there are facts: JSON's values, none of them empty, the same each time, and only
// what the files say.
func FuzzImage(f *testing.F) {
	f.Add("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nID=debian\n", "pc-7\n", "127.0.0.1 localhost\n127.0.1.1 pc-7.example.lan pc-7 # the installer's\n", "../usr/share/zoneinfo/Europe/Luxembourg", "")
	f.Add("ID='alpine'\r\nID=\n = \nVERSION_ID=\"a\\\"b\"", "a.example.lan", "127.0.1.1 a.", "", "Etc/UTC\r\n")
	f.Add(" ID = debian \nVERSION_ID= '12' ", " pc ", "", "", "")
	f.Add("ID=\xff", "\xff\xfe", "1 \xff.\xff", "\xff/zoneinfo/", "\x00")
	f.Fuzz(func(t *testing.T, release, hostname, hosts, localtime, zone string) {
		if len(release)+len(hostname)+len(hosts)+len(zone) > fuzzing.Most || len(localtime) > 4000 || strings.ContainsRune(localtime, 0) {
			t.Skip()
		}
		files := map[string]string{"etc/os-release": release, "etc/hostname": hostname, "etc/hosts": hosts, "etc/timezone": zone}
		if localtime != "" {
			files["etc/localtime"] = "-> " + localtime
		}
		root := tree(t, files)
		fuzzing.Soon(func() {
			facts := Gather(host.New(root))
			checkFacts(t, facts)
			if d := cmp.Diff(facts, Gather(host.New(root))); d != "" {
				t.Fatalf("a second time:\n%s", d)
			}
			all := strings.Join([]string{release, hostname, hosts, localtime, filepath.Clean(localtime), zone}, "\n")
			for _, name := range []string{"distribution", "version", "codename", "prettyName", "hostname", "domain", "timezone"} {
				if s, _ := facts[name].(string); !strings.Contains(strings.ToValidUTF8(all, "\uFFFD"), s) && !strings.Contains(all, s) {
					t.Fatalf("%s is %q, which no file says", name, s)
				}
			}
		})
	})
}

// Whatever the kernel tells of a machine, there are facts of it.
func FuzzMachine(f *testing.F) {
	f.Add("MemTotal:       24684092 kB\nMemFree: 1 kB\n", "cpu  1 2 3\nbtime 1767225600\n", "processor\t: 0\nmodel name\t: Intel(R)  Xeon(R)\nflags\t\t: fpu hypervisor avx\n", "HOME=/\x00container=lxc\x00", "QEMU\n", "1048576\n")
	f.Add("MemTotal: -1 kB", "btime 99999999999999999999\nbtime -1\n", ":\nflags:", "container=\x00", "To be filled by O.E.M.", "-5")
	f.Add("MemTotal:9223372036854775807", "btime 9223372036854775807", "model name: \xff", "", "\xff\x00\x01", "9223372036854775807")
	f.Fuzz(func(t *testing.T, meminfo, stat, cpuinfo, environ, dmi, sectors string) {
		if len(meminfo)+len(stat)+len(cpuinfo)+len(environ)+len(dmi)+len(sectors) > fuzzing.Most {
			t.Skip()
		}
		root := tree(t, map[string]string{"proc/meminfo": meminfo, "proc/stat": stat, "proc/cpuinfo": cpuinfo, "proc/1/environ": environ,
			"sys/class/dmi/id/sys_vendor": dmi, "sys/class/dmi/id/product_name": dmi, "sys/class/dmi/id/product_serial": dmi,
			"sys/hypervisor/type": "", "proc/device-tree/hypervisor/compatible": dmi, "sys/block/sda/size": sectors, "sys/block/sda/device/model": dmi, "sys/block/sda/queue/rotational": sectors})
		fuzzing.Soon(func() {
			facts := map[string]any{}
			machine{root}.gather(facts)
			checkFacts(t, facts)
			for name := range facts {
				if !strings.Contains(" memory bootTime cpu virtual vendor model serial disks biosVersion kernel ", " "+name+" ") {
					t.Fatalf("a fact %s", name)
				}
			}
			disks, _ := facts["disks"].([]any)
			if len(disks) > 1 {
				t.Fatalf("%d disks: %v", len(disks), disks)
			}
			if at, _ := facts["bootTime"].(string); len(at) == len("2006-01-02T15:04:05Z") {
				if _, err := time.Parse(time.RFC3339, at); err != nil {
					t.Fatalf("%q is %q: %v", stat, at, err)
				}
			}
		})
	})
}

// checkFacts holds what expressions and the store rely on.
func checkFacts(t *testing.T, facts map[string]any) {
	t.Helper()
	b, err := json.Marshal(facts)
	if err != nil || !utf8.Valid(b) {
		t.Fatalf("no JSON: %v", err)
	}
	for name, v := range facts {
		if s, ok := v.(string); ok && (s == "" && name != "virtual" || strings.TrimSpace(s) != s) {
			t.Fatalf("%s is %q", name, s)
		}
	}
}

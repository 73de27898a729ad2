package settings

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is written is read back as it was, and nothing else in the file changes its meaning.
func FuzzEnvironment(f *testing.F) {
	f.Add("A=1\nB='x y'\n", "two words")
	f.Add("export A=\"1\" # c\r\n", `both ' and "`)
	f.Add("A", "")
	f.Fuzz(func(t *testing.T, text, value string) {
		if strings.ContainsAny(value, "\n\r#\x00") {
			return
		}
		read := func(text string) map[string]string {
			all := map[string]string{}
			for line := range strings.Lines(text) {
				if n, v, ok := environmentLine(line); ok {
					all[n] = v
				}
			}
			return all
		}
		want := read(text)
		want["NEW"] = value
		next := setEnvironmentLine(text, "NEW", "NEW="+quoteEnvironment(value)+"\n")
		if d := cmp.Diff(want, read(next)); d != "" {
			t.Fatalf("from %q to %q (-want +got):\n%s", text, next, d)
		}
		if again := setEnvironmentLine(next, "NEW", "NEW="+quoteEnvironment(value)+"\n"); again != next {
			t.Fatalf("a second time: %q, then %q", next, again)
		}
	})
}

func FuzzSysctl(f *testing.F) {
	f.Add("net.ipv4.ip_forward = 1\n# c\n-kernel.x=2\n", "1 2\t3")
	f.Add("net/ipv4/conf/eth0.1/forwarding=0\r\nnet.ipv4.conf.*.rp_filter=2", "")
	f.Fuzz(func(t *testing.T, text, value string) {
		if strings.ContainsAny(value, "\n") {
			return
		}
		want := parseSysctl(text)
		want["net/core/new"] = blanks(value)
		next := setSysctlLine(text, "net/core/new", "net.core.new = "+blanks(value)+"\n")
		if d := cmp.Diff(want, parseSysctl(next)); d != "" {
			t.Fatalf("from %q to %q (-want +got):\n%s", text, next, d)
		}
		delete(want, "net/core/new")
		if d := cmp.Diff(want, parseSysctl(setSysctlLine(next, "net/core/new", ""))); d != "" {
			t.Fatalf("removed from %q (-want +got):\n%s", next, d)
		}
	})
}

func FuzzHosts(f *testing.F) {
	f.Add("127.0.0.1 localhost\n127.0.1.1\told.example.lan old # mine\n")
	f.Add("127.0.1.1 a\r\n127.0.1.1 b")
	f.Fuzz(func(t *testing.T, text string) {
		next := renameSelf(text, "lt-042", "old")
		if self := selfNames(next); len(self) > 0 && !contains(self, "lt-042") {
			t.Fatalf("from %q to %q: 127.0.1.1 is %q", text, next, self)
		}
		if again := renameSelf(next, "lt-042", "old"); again != next {
			t.Fatalf("a second time: %q, then %q", next, again)
		}
	})
}

func TestSysctlNames(t *testing.T) {
	for name, key := range map[string]string{
		"net.ipv4.ip_forward":             "net/ipv4/ip_forward",
		"net/ipv4/ip_forward":             "net/ipv4/ip_forward",
		"net.ipv4.conf.eth0/1.forwarding": "net/ipv4/conf/eth0.1/forwarding",
		"net/ipv4/conf/eth0.1/forwarding": "net/ipv4/conf/eth0.1/forwarding",
		"fs.binfmt_misc.python3/11":       "fs/binfmt_misc/python3.11",
		"kernel.yama.ptrace_scope":        "kernel/yama/ptrace_scope",
	} {
		if got := sysctlKey(name); got != key {
			t.Errorf("sysctlKey(%q) = %q, want %q", name, got, key)
		}
	}
	for _, bad := range []string{"../../etc/passwd", "net..ipv4", "net/../x", "/etc/passwd", "kernel."} {
		if err := (Sysctls{}).Check(Sysctl{Name: bad, State: "absent"}); err == nil {
			t.Errorf("%q was taken for a setting's name", bad)
		}
	}
}

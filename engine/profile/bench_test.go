package profile

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// thousand is a profile with as many resources.
func thousand() string {
	var b strings.Builder
	b.WriteString("variables: {company: x, mode: '0644'}\nusers:\n")
	for i := range 200 {
		fmt.Fprintf(&b, "  - {name: user%d, fullName: \"${vars.company} %d\", groups: [staff], shell: /bin/bash}\n", i, i)
	}
	b.WriteString("packages:\n")
	for i := range 200 {
		fmt.Fprintf(&b, "  - package%d\n", i)
	}
	b.WriteString("directories:\n")
	for i := range 100 {
		fmt.Fprintf(&b, "  - {path: /srv/d%d, mode: '0755', owner: user%d}\n", i, i)
	}
	b.WriteString("files:\n")
	for i := range 400 {
		fmt.Fprintf(&b, "  - {path: /srv/d%d/f%d, content: \"hello ${vars.company} on ${device.name} %d\\n\", mode: \"${vars.mode}\", when: device.os == \"linux\"}\n", i%100, i, i)
	}
	b.WriteString("commands:\n")
	for i := range 100 {
		fmt.Fprintf(&b, "  - {name: c%d, run: [/bin/true, \"%d\"], creates: /var/lib/c%d, after: [files//srv/d0/f0]}\n", i, i, i)
	}
	return b.String()
}

// fiftySeven is a profile of a device as it is.
func fiftySeven() string {
	var b strings.Builder
	b.WriteString("variables: {company: x}\nhostname: ${device.name}\ntimezone: Etc/UTC\npackages: [a1, a2, a3, a4, a5, a6]\ngroups: [staff]\nusers:\n")
	for i := range 8 {
		fmt.Fprintf(&b, "  - {name: user%d, groups: [staff], shell: /bin/bash}\n", i)
	}
	b.WriteString("files:\n")
	for i := range 30 {
		fmt.Fprintf(&b, "  - {path: /etc/f%d, content: \"${vars.company} on ${device.name} %d\\n\", mode: \"0644\", when: device.os == \"linux\"}\n", i, i)
	}
	b.WriteString("services:\n")
	for i := range 10 {
		fmt.Fprintf(&b, "  - {name: s%d, enabled: true, running: true}\n", i)
	}
	return b.String()
}

func load(t testing.TB, text string) *Profile {
	t.Helper()
	path := filepath.Join(t.TempDir(), "profile.yaml")
	writeFile(t, path, []byte(text))
	p, err := new(Loader).Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func BenchmarkCheck1000(b *testing.B) {
	path := filepath.Join(b.TempDir(), "profile.yaml")
	writeFile(b, path, []byte(thousand()))
	for b.Loop() {
		if _, err := new(Loader).Load(path); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile57(b *testing.B) {
	p := load(b, fiftySeven())
	b.ReportAllocs()
	for b.Loop() {
		c, err := p.Compile(Device{Name: "d", Facts: map[string]any{"os": "linux"}})
		if err != nil || len(c.Resources) != 57 {
			b.Fatal(len(c.Resources), err)
		}
	}
}

// TestCheckIsQuick holds the promise that a profile of 1,000 resources is checked in 100 ms, with room for a busy machine.
func TestCheckIsQuick(t *testing.T) {
	path := filepath.Join(t.TempDir(), "profile.yaml")
	writeFile(t, path, []byte(thousand()))
	best := time.Hour
	for range 10 {
		start := time.Now()
		if _, err := new(Loader).Load(path); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(start))
	}
	if best > 250*time.Millisecond {
		t.Errorf("takes %v", best)
	}
}

package schema

import (
	"bytes"
	"fmt"
	"testing"
)

// manyResources is a profile of n resources of many types.
func manyResources(n int) []byte {
	var b bytes.Buffer
	b.WriteString("profile: many\nhostname: ${device.name}\nusers:\n")
	for i := range n / 5 {
		fmt.Fprintf(&b, "  - name: user%d\n    fullName: User %d\n    shell: /bin/bash\n    groups: [sales, staff]\n    locked: false\n", i, i)
	}
	b.WriteString("files:\n")
	for i := range n / 5 {
		fmt.Fprintf(&b, "  - {path: /srv/f%d, content: \"some text ${vars.x}\\n\", owner: user%d, mode: \"0644\"}\n", i, i)
	}
	b.WriteString("directories:\n")
	for i := range n / 5 {
		fmt.Fprintf(&b, "  - {path: /srv/d%d, owner: user%d, group: sales, mode: \"0750\"}\n", i, i)
	}
	b.WriteString("packages:\n")
	for i := range n / 5 {
		fmt.Fprintf(&b, "  - package-%d\n", i)
	}
	b.WriteString("lines:\n")
	for i := range n / 5 {
		fmt.Fprintf(&b, "  - {path: /etc/hosts, line: \"10.0.0.%d nas%d\", match: \"\\\\bnas%d$\", id: nas%d}\n", i, i, i, i)
	}
	return b.Bytes()
}

// checkOnce reads and validates as a command that has just started does.
func checkOnce(tb testing.TB, data []byte) {
	d, err := Read("many.yaml", data)
	if err == nil {
		err = validate(d, &rules{raw: profileSchema})
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// A check of 1,000 resources should take less than 100 ms as a whole. "first" is the larger part of it.
func BenchmarkCheck(b *testing.B) {
	data := manyResources(1000)
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if _, err := Read("many.yaml", data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			checkOnce(b, data)
		}
	})
	b.Run("again", func(b *testing.B) {
		d, err := Read("many.yaml", data)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if err := ValidateProfile(d); err != nil {
				b.Fatal(err)
			}
		}
	})
}

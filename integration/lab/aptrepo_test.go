package lab

import (
	"strings"
	"testing"
)

func TestAptRepo(t *testing.T) {
	l := New(t)
	repo, security := l.AptRepo(t), l.AptRepo(t, Security)
	m := l.Machine(t, Debian)
	if out, err := m.Exec(t.Context(), "apt-get update && apt-get install -y nano"); err == nil {
		t.Errorf("a machine has packages before it has a repository: %s", out)
	}
	for _, version := range []string{"1.0-1", "1:0.5-1"} {
		repo.Build(t, Deb{
			Name: "greeter", Version: version, Fields: map[string]string{"Depends": "greeter-data"},
			Files:   map[string]string{"/usr/bin/greet": "#!/bin/sh\necho " + version + "\n", "/etc/greeter.conf": "a=1\n"},
			Scripts: map[string]string{"postinst": "echo configured >/var/lib/greeter"},
		})
	}
	repo.Build(t, Deb{Name: "greeter-data", Version: "1"})
	repo.Build(t, Deb{Name: "broken", Version: "1", Scripts: map[string]string{"postinst": "echo no >&2; exit 7"}})
	repo.Fetch(t, "nano", "curl")
	repo.Publish(t)
	repo.Use(t, m)
	security.Use(t, m)
	before := repo.Requests()
	m.Run(t, "apt-get -qq update && apt-get -qq -y install greeter=1.0-1 nano curl && apt-get check")
	if repo.Requests() == before {
		t.Error("no requests were counted")
	}
	if got := m.Run(t, "greet; cat /var/lib/greeter; nano --version | grep -c version; curl --version | grep -o ^curl"); got != "1.0-1\nconfigured\n1\ncurl" {
		t.Errorf("after the install: %q", got)
	}
	if got := m.Run(t, "dpkg-query -W -f '${Conffiles}' greeter"); !strings.Contains(got, "/etc/greeter.conf") {
		t.Errorf("conffiles: %q", got)
	}
	if _, err := m.Exec(t.Context(), "apt-get -qq -y install broken"); err == nil {
		t.Error("a package whose postinst fails was installed")
	}
	// Published within the same second, or nearly: still seen.
	security.Build(t, Deb{Name: "greeter", Version: "1:0.6-1", Fields: map[string]string{"Depends": "greeter-data"}})
	security.Publish(t)
	m.Run(t, "apt-get -qq update")
	security.Build(t, Deb{Name: "greeter", Version: "1:0.7-1", Fields: map[string]string{"Depends": "greeter-data"}})
	security.Publish(t)
	m.Run(t, "apt-get -qq update")
	policy := m.Run(t, "apt-cache policy greeter; apt-cache policy")
	for _, want := range []string{"Candidate: 1:0.7-1", "1:0.6-1", "l=Debian-Security", "n=bookworm-security"} {
		if !strings.Contains(policy, want) {
			t.Errorf("apt-cache policy lacks %q:\n%s", want, policy)
		}
	}
	Must(t, security.Withdraw("greeter", "1:0.7-1"))
	security.Publish(t)
	if got := m.Run(t, "apt-get -qq update; apt-cache policy greeter"); strings.Contains(got, "1:0.7-1") {
		t.Errorf("a withdrawn version is still there: %s", got)
	}
}

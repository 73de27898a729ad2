package plan

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/engine/profile"
	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
)

// risky is a device with all that a plan says of the run itself.
func risky() Device {
	rs := []profile.Resource{
		{Address: "users/old", Reboot: wire.RebootNever},
		{Address: "files//etc/ssh/sshd_config", Connect: map[string]any{"port": int64(2222), "user": "admin", "password": secret.New("hunter2")}},
		{Address: "files//etc/same", Connect: map[string]any{"port": int64(9)}, Reboot: wire.RebootIfNeeded},
		{Address: "updates", Reboot: wire.RebootIfNeeded},
	}
	pending := []modules.Change{{Property: "install", Before: "1 pending: openssl", After: "security"}}
	d := Make("lt-1", "10.0.3.1", rs, nil, &wire.Observed{Reboot: "updated: linux-image",
		Findings: []wire.Finding{{Check: "battery", Text: "battery at 12 % and no mains", Remedy: "plug it in"}, {Check: "clock", Text: "the clock is 7 minutes off"}},
		Observations: []wire.Observation{
			{Address: "users/old", Op: modules.Delete, NoUndo: "its home folder is deleted"},
			{Address: "files//etc/ssh/sshd_config", Op: modules.Update, Changes: []modules.Change{{Property: "mode", Before: "0600", After: "0644"}}},
			{Address: "files//etc/same", Op: modules.Same, NoUndo: "never asked"},
			{Address: "updates", Op: modules.Update, Changes: pending, NoUndo: "installed updates can't be taken back"},
		}})
	d.Settings = wire.Settings{Reboot: wire.RebootIfNeeded, RebootWindow: "22:00-06:00"}
	return d
}

func TestRenderWhatARunRisks(t *testing.T) {
	var b bytes.Buffer
	Render(&b, []Device{risky()}, Style{})
	d := risky()
	d.Settings = wire.Settings{} // nothing but updates may reboot it now
	d.Findings = append(d.Findings, wire.Finding{Check: "disk", Fatal: true, Text: "/var has 3 MB free", Remedy: "make room"})
	d.Error, d.Hint = d.Refused().Error(), hint.Of(d.Refused())
	Render(&b, []Device{d}, Style{})
	golden(t, "risks.txt", b.String())
}

func TestReachedInWords(t *testing.T) {
	for want, connect := range map[string]map[string]any{
		"reached at port 2222 afterwards":                           {"port": float64(2222)},
		"reached at 10.0.0.9 port 22 as bob afterwards":             {"address": "10.0.0.9", "port": int64(22), "user": "bob"},
		"reached with another password with another key afterwards": {"password": "(secret)", "identityFile": "/k"},
		"reached at 10.0.0.9 with another password afterwards":      {"address": "10.0.0.9", "password": "(secret)"},
		"reached as admin with another key afterwards":              {"user": "admin", "identityFile": "/k"},
	} {
		if got := reached(connect); got != want {
			t.Errorf("%v: %q, not %q", connect, got, want)
		}
	}
}

func TestRefused(t *testing.T) {
	if err := (&Device{Findings: []wire.Finding{{Text: "a warning"}}}).Refused(); err != nil {
		t.Errorf("a warning refuses: %v", err)
	}
	one := (&Device{Findings: []wire.Finding{{Text: "a warning"}, {Fatal: true, Text: "the disk is full", Remedy: "make room"}}}).Refused()
	if one == nil || one.Error() != "the disk is full" || hint.Of(one) != "make room" {
		t.Errorf("%v, hint %q", one, hint.Of(one))
	}
	two := (&Device{Findings: []wire.Finding{{Fatal: true, Text: "the disk is full", Remedy: "make room"}, {Fatal: true, Text: "it is read-only"}}}).Refused()
	if want := "the disk is full\n  hint: make room\nit is read-only"; two == nil || two.Error() != want {
		t.Errorf("%v, not %s", two, want)
	}
}

// TestShapeOfWhatARunDoes: what is found on the device is no part of what is declared; a policy and a new way to the device
// are, the password apart.
func TestShapeOfWhatARunDoes(t *testing.T) {
	base := profile.Resource{Address: "hostname"}
	with := func(change func(r *profile.Resource)) string {
		r := base
		change(&r)
		return Shape(r)
	}
	port := func(password string) string {
		return with(func(r *profile.Resource) {
			r.Connect = map[string]any{"port": int64(1), "password": secret.New(password)}
		})
	}
	if port("a") != port("b") {
		t.Error("the shape depends on a password")
	}
	if port("a") == Shape(base) || with(func(r *profile.Resource) { r.Reboot = wire.RebootNever }) == Shape(base) {
		t.Error("a change of the declaration can't be seen")
	}
	calm, alarmed := risky(), risky()
	alarmed.Findings = nil
	for i := range calm.Resources {
		if calm.Resources[i].Shape != alarmed.Resources[i].Shape || calm.Resources[i].Digest != alarmed.Resources[i].Digest {
			t.Errorf("%s: findings change what it stands for", calm.Resources[i].Address)
		}
	}
}

func TestAPasswordOfConnectIsInNoPlan(t *testing.T) {
	b, err := json.Marshal(risky())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "hunter2") {
		t.Error("the password is in the plan")
	}
	for _, want := range []string{`"noUndo":"its home folder is deleted"`, `"findings":[{"check":"battery"`, `"connect":{"password":"(secret)","port":2222,"user":"admin"}`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s is not in %s", want, b)
		}
	}
}

package settings

import (
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/modules"
	"github.com/google/go-cmp/cmp"
)

func TestTriggers(t *testing.T) {
	for words, plain := range map[string]string{
		"daily at 03:00": "", "every 3 days at 23:59": "", "every 1 days at 01:00": "daily at 01:00", "Weekly on Monday, friday at 03:00": "weekly on monday,friday at 03:00",
		"monthly on 1,15,last at 03:00": "", "once at 2026-12-24 18:00": "", "once at 2026-12-24T18:00": "once at 2026-12-24 18:00", "every 15m": "", "every 1h": "", "every 90m": "every 1h30m",
		"at startup": "", "at logon": "", "at logon of Alice Example": "",
	} {
		e, err := parseTrigger(words)
		if err != nil {
			t.Errorf("%s: %v", words, err)
			continue
		}
		if plain == "" {
			plain = words
		}
		if got := triggerWords(e); got != plain {
			t.Errorf("%s comes back as %s", words, got)
		}
	}
	for words, says := range map[string]string{
		"daily at 24:00": "24:00 is no time of day", "every 0 days at 01:00": "not from 1 to 365", "weekly on mon at 01:00": "mon is no day of the week",
		"monthly on 32 at 01:00": "32 is no day of a month", "once at 2026-02-30 01:00": "there is no such time", "every 30s": "no whole number of minutes", "hourly": "not one of",
	} {
		if _, err := parseTrigger(words); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %s", words, err, says)
		}
	}
}

// What words can't say isn't told in words that mean something else, and stays where triggers aren't declared.
func TestDefinitionKeeps(t *testing.T) {
	const old = `<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.4" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo><Author>EXAMPLE\alice</Author></RegistrationInfo>
  <Triggers>
    <EventTrigger><Enabled>true</Enabled><Subscription>&lt;QueryList/&gt;</Subscription></EventTrigger>
    <CalendarTrigger><StartBoundary>2026-01-01T03:00:00</StartBoundary><Enabled>true</Enabled><RandomDelay>PT1H</RandomDelay><ScheduleByDay><DaysInterval>1</DaysInterval></ScheduleByDay></CalendarTrigger>
  </Triggers>
  <Principals><Principal id="Author"><UserId>S-1-5-18</UserId></Principal></Principals>
  <Settings><Enabled>true</Enabled><Priority>4</Priority></Settings>
  <Actions Context="Author"><Exec><Command>a.exe</Command></Exec></Actions>
</Task>`
	var have Task
	if err := have.read(old); err != nil {
		t.Fatal(err)
	}
	if have.Triggers[1] == "daily at 03:00" || !strings.Contains(have.Triggers[0], "EventTrigger") || *have.User != "SYSTEM" || *have.Program != "a.exe" {
		t.Errorf("read as %+v", have)
	}
	text, err := Task{Program: modules.Ptr("b.exe"), Description: modules.Ptr("d")}.definition(old)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := parseDefinition(strings.NewReplacer("b.exe", "a.exe", "<Description>d</Description>", "").Replace(text)); !sameDefinition(old, text) && !func() bool {
		before, _ := parseDefinition(old)
		return sameElement(before, got)
	}() {
		t.Errorf("other things have changed (-before +after):\n%s", cmp.Diff(old, text))
	}
}

func TestHotkey(t *testing.T) {
	for s, want := range map[string]string{"": "", "ctrl+alt+e": "Ctrl+Alt+E", "Shift + Ctrl + 9": "Ctrl+Shift+9", "F12": "F12", "alt+f1": "Alt+F1"} {
		n, err := parseHotkey(s)
		if got := formatHotkey(n); err != nil || got != want {
			t.Errorf("%q is %q, %v", s, got, err)
		}
	}
	for _, bad := range []string{"e", "Ctrl+E", "Ctrl+Ctrl+E", "Win+Alt+E", "Ctrl+Alt+F25", "Ctrl+Alt+", "Ctrl+Alt+é"} {
		if _, err := parseHotkey(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	for _, bad := range []Shortcut{{Path: `Desktop\x.lnk`}, {Path: `C:\x.url`}, {Path: `C:\x.lnk`}, {Path: `C:\x.lnk`, Target: modules.Ptr("https://example.com")}} {
		if err := (Shortcuts{}).Check(bad); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

package settings

import (
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
)

func TestTimeCheck(t *testing.T) {
	for _, c := range []struct {
		want    string
		servers []string
	}{
		{"", []string{"ntp.example.lan", "192.0.2.1", "2001:db8::1", "ntp", "ntp.example.lan.", "a_b.example.lan"}},
		{"", nil},
		{"servers: empty", []string{}},
		{"more than one server's name", []string{"a.example.lan b.example.lan"}},
		{"more than one server's name", []string{"a.example.lan,0x8"}},
		{"no host's name or address", []string{""}},
		{"no host's name or address", []string{" "}},
		{"no host's name or address", []string{"192.0.2.256"}},
		{"no host's name or address", []string{"ntp..example.lan"}},
		{"no host's name or address", []string{"-ntp.example.lan"}},
		{"no host's name or address", []string{"ntp.example.lan#"}},
		{"no host's name or address", []string{"https://ntp.example.lan"}},
		{"no host's name or address", []string{"fe80::1%eth0"}},
		{"no host's name or address", []string{strings.Repeat("a", 64)}},
		{"is there twice", []string{"ntp.example.lan", "NTP.example.lan"}},
	} {
		err := (Times{}).Check(Time{Servers: c.servers})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(hint.Text(err), c.want)) {
			t.Errorf("%q: %v, want %q", c.servers, err, c.want)
		}
	}
}

// What W32Time is configured to, from what it was.
func TestNextTime(t *testing.T) {
	on, off := modules.Ptr(true), modules.Ptr(false)
	ab := []string{"a.example", "b.example"}
	for _, c := range []struct {
		want                   Time
		source, peers          string
		nextSource, nextServer string
	}{
		{Time{Servers: ab}, "", "", "NTP", "a.example,0x8 b.example,0x8"},
		{Time{Servers: ab}, "NTP", "B.example,0x1  c.example,0x9 a.example", "NTP", "a.example b.example,0x1"},
		{Time{Servers: ab}, "NT5DS", "a.example,0x8 b.example,0x8", "NTP", "a.example,0x8 b.example,0x8"},
		{Time{Servers: ab}, "AllSync", ",0x8 ,", "AllSync", "a.example,0x8 b.example,0x8"},
		{Time{Servers: ab}, "NoSync", "", "NoSync", "a.example,0x8 b.example,0x8"}, // it is off: nobody says otherwise
		{Time{Servers: ab, Automatic: on}, "NoSync", "", "NTP", "a.example,0x8 b.example,0x8"},
		{Time{Servers: ab, Automatic: off}, "NT5DS", "", "NoSync", "a.example,0x8 b.example,0x8"},
		{Time{Automatic: on}, "NT5DS", "x.example,0x9 ", "NT5DS", "x.example,0x9"},
		{Time{Automatic: on}, "nosync", "x.example,0x9", "NTP", "x.example,0x9"},
		{Time{Automatic: off}, "NTP", "x.example,0x9", "NoSync", "x.example,0x9"},
		{Time{Servers: ab, Source: modules.Ptr("NT5DS"), Peers: modules.Ptr("y.example,0x1 ")}, "NTP", "x.example", "NT5DS", "y.example,0x1 "}, // undo
		{Time{Automatic: on, Source: modules.Ptr("AllSync")}, "NoSync", "x.example", "AllSync", "x.example"},
	} {
		if source, peers := nextTime(c.want, c.source, c.peers); source != c.nextSource || peers != c.nextServer {
			t.Errorf("%+v of %s %q: %s %q, want %s %q", c.want, c.source, c.peers, source, peers, c.nextSource, c.nextServer)
		}
	}
}

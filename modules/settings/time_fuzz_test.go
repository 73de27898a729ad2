package settings

import (
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/modules/fuzzing"
	"github.com/fitout-dev/fitout/modules/host"
)

var fuzzedServers = Time{Servers: []string{"ntp.example.lan", "2001:db8::1"}}

// Whatever the files before ours hold, ours decides, and what comes after it is either no objection or an error.
func FuzzTimesyncd(f *testing.F) {
	f.Add("[Time]\n#NTP=\n", "", "")
	f.Add("[Time]\nNTP=a b\\\n c\n; x \\\nNTP\n", "\ufeff[Time]\r\nNTP=\r\n", "[Time]\nNTP=")
	f.Add("NTP=never\n[X]\nNTP=never\n[Time", "[Time]\nNTP=ntp.example.lan\\", "[Time]\n NTP = z\n")
	f.Add("[Time]\nNTP=a\u00a0b\\\\\nNTP=c\n", "[Time]\nFallbackNTP=x\n", "[Time]\nNTP=NTP.example.lan 2001:DB8::1")
	f.Fuzz(func(t *testing.T, main, before, after string) {
		if len(main)+len(before)+len(after) > fuzzing.Most {
			t.Skip()
		}
		h := rootOf(t, map[string]string{"/usr/lib/systemd/systemd-timesyncd": "", timesyncdConf: main,
			timesyncdDropIns[0] + "/10.conf": before, timesyncdDropIns[3] + "/zz.conf": after})
		fuzzing.Soon(func() { setServers(t, h, timesyncdDropIns[3]+"/zz.conf") })
		servers, _ := timesyncdServers(after)
		for _, s := range servers {
			if s == "" || strings.ContainsAny(s, " \t\r\n") {
				t.Errorf("%q has the server %q", after, s)
			}
		}
	})
}

// Whatever chrony's files hold, nothing of it is changed, and servers that aren't wanted are an error.
func FuzzChrony(f *testing.F) {
	f.Add("pool 2.debian.pool.ntp.org iburst\nsourcedir /etc/chrony/sources.d\n", "", "")
	f.Add("confdir /etc/chrony/conf.d/ /run/x\nSourceDir /run/y /etc/chrony//sources.d/\n!server a\n", "server ntp.example.lan iburst\r\n", "server never")
	f.Add("include /etc/chrony/*\n", "include /etc/chrony/conf.d/a.conf\n", "peer 2001:db8::1\n")
	f.Add("confdir .\ninclude [\nsourcedir /etc/../tmp\n", "sourcedir /etc/chrony/sources.d", "\x00server x\n")
	f.Fuzz(func(t *testing.T, main, conf, sources string) {
		if len(main)+len(conf)+len(sources) > fuzzing.Most {
			t.Skip()
		}
		h := rootOf(t, map[string]string{"/usr/sbin/chronyd": "", chronyConfs[0]: main,
			"/etc/chrony/conf.d/a.conf": conf, "/etc/chrony/sources.d/b.sources": sources})
		fuzzing.Soon(func() { setServers(t, h, "") })
		for p, text := range map[string]string{chronyConfs[0]: main, "/etc/chrony/conf.d/a.conf": conf, "/etc/chrony/sources.d/b.sources": sources} {
			if now, err := readOptional(h, p); now != text || err != nil {
				t.Errorf("%s was %q and is %q: %v", p, text, now, err)
			}
		}
	})
}

// setServers sets the servers; after names a file that may forbid it, and "" stands for any.
func setServers(t *testing.T, h *host.Host, after string) {
	if _, err := (Times{}).Observe(t.Context(), h, fuzzedServers); err != nil {
		if !strings.Contains(err.Error(), after) {
			t.Fatal(err)
		}
		return
	}
	have := set(t, h, Times{}, fuzzedServers)
	if k, err := findKeeper(h); err != nil || !k.has(fuzzedServers.Servers) || len(have.Servers) != len(fuzzedServers.Servers) {
		t.Fatalf("the servers are %+v: %v", have, err)
	}
}

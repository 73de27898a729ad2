package integration

import (
	"os"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
)

// owing is a profile whose notification can't be delivered as long as /srv/stop is there.
const owing = `profile: owing
files:
  - {path: /etc/owing.conf, content: "NUMBER\n", notify: [commands/told]}
commands:
  - {name: wait, run: [sh, -c, "touch /srv/waiting; while [ -e /srv/stop ]; do sleep 0.05; done"], creates: /srv/waited, after: [files//etc/owing.conf]}
  - {name: told, run: [sh, -c, "cat /etc/owing.conf >>/srv/told"], onNotifyOnly: true, after: [commands/wait]}
`

// TestWhatADeviceForgetsThatItOwes removes fitout's folder on the device while a notification is due: what this side knows has
// it delivered, and once.
func TestWhatADeviceForgetsThatItOwes(t *testing.T) {
	t.Parallel() // it mostly waits
	s := newSite(t, lab.New(t).Machine(t, lab.Debian), strings.Replace(owing, "NUMBER", "0", 1), "")
	s.m.Run(t, "touch /srv/waited")
	s.fitout("apply", "--yes").exits(0)
	for i, c := range []struct {
		name   string
		forget func(s *site)
	}{
		{"nothing", func(*site) {}},
		{"after a run that was ended", func(s *site) { s.m.Run(s.t, "rm -rf /var/lib/fitout") }},
		{"by cleaning", func(s *site) { s.fitout("clean").exits(0) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			number := string(rune('1' + i))
			s.m.Run(t, "rm -f /srv/told /srv/waited; touch /srv/stop")
			s.write("site.yaml", strings.Replace(owing, "NUMBER", number, 1))
			a := s.start("apply", "--yes")
			until(t, "the run to stand still", func() bool { return s.has("/srv/waiting") })
			lab.Must(t, a.Process.Signal(os.Interrupt))
			until(t, "an answer", func() bool { return strings.Contains(a.stderr.String(), "stopping after the current resource") })
			s.m.Run(t, "touch /srv/waited; rm /srv/stop /srv/waiting")
			a.wait().exits(4)
			if s.has("/srv/told") {
				t.Fatal("the notification was delivered: this proves nothing")
			}
			c.forget(s)
			s.fitout("plan").exits(2).says("commands/told", "owed since files//etc/owing.conf changed")
			s.fitout("apply", "--yes").exits(0).says("commands/told")
			s.fitout("apply", "--yes").exits(0).says("Nothing to do")
			c.forget(s)
			s.fitout("apply", "--yes").exits(0).says("Nothing to do")
			if told := s.m.Run(t, "cat /srv/told"); told != number {
				t.Errorf("told %q, not once of %s", told, number)
			}
			s.leavesNothing()
		})
	}
	t.Run("in the middle of a run that nobody follows", func(t *testing.T) {
		s := s.in(t)
		s.m.Run(t, "rm -f /srv/told /srv/waited; touch /srv/stop")
		s.write("site.yaml", strings.Replace(owing, "NUMBER", "9", 1))
		s.away(func() bool { return s.has("/srv/waiting") })
		s.m.Run(t, "pkill -KILL -f 'bin/[0-9a-f]*/[e]xecutor'; touch /srv/waited; rm -rf /var/lib/fitout /srv/stop")
		s.fitout("apply", "--yes").exits(0).says("commands/told")
		if told := s.m.Run(t, "cat /srv/told"); told != "9" {
			t.Errorf("told %q", told)
		}
	})
}

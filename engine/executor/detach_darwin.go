package executor

import (
	"context"
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/disk"
)

// On macOS a run is carried out by a job of launchd, which is told of it by a file in the run's folder: so it belongs to no
// session. Another file, in /Library/LaunchDaemons, has launchd begin with it again at the machine's next start. Both are removed
// at the run's end. Without the right to that, a process in a session of its own does it, and waits for the controller after
// a restart. None of this was seen on a Mac yet: it follows launchd.plist(5) and launchctl(1).

func socketPath(dir, run string) (path string, done func()) {
	return filepath.Join(runDir(dir, run), "socket"), func() {}
}

func runnerArgs(exe string, o Options, run string) []string {
	return []string{exe, "-dir", o.Dir, "-root", o.Root, "-run", run}
}

const (
	daemonDir  = "/Library/LaunchDaemons"
	runPrefix  = "fitout.run."
	bootPrefix = "fitout.boot."
)

// runJob is the file of the job that carries a run out, bootJob of that which does so after the next start of the machine.
func runJob(o Options, run string) string { return filepath.Join(runDir(o.Dir, run), "launchd.plist") }
func bootJob(run string) string           { return filepath.Join(daemonDir, bootPrefix+run+".plist") }

// Detach starts a runner that outlives the session.
func Detach(ctx context.Context, o Options, run string) error {
	exe, err := executorOf(o, run)
	if err != nil {
		return err
	}
	args := runnerArgs(exe, o, run)
	if o.Root == "/" && os.Geteuid() == 0 {
		if err := startJob(ctx, o, run, args); err == nil {
			return nil
		}
	}
	return spawnRunner(args)
}

func startJob(ctx context.Context, o Options, run string, args []string) error {
	if launchctl(ctx, "kickstart", "system/"+runPrefix+run) == nil { // a runner that was killed had it loaded
		return nil
	}
	text, err := jobText(runPrefix+run, args)
	if err != nil {
		return err
	}
	if err := disk.Replace(disk.OS, runJob(o, run), []byte(text), 0o600); err != nil {
		return err
	}
	return launchctl(ctx, "bootstrap", "system", runJob(o, run))
}

// jobText describes a job that is started once, when it is read. What a command leaves running stays when it ends.
func jobText(label string, args []string) (string, error) {
	var arguments strings.Builder
	for _, a := range args {
		arguments.WriteString("\t\t<string>")
		if err := xml.EscapeText(&arguments, []byte(a)); err != nil {
			return "", err
		}
		arguments.WriteString("</string>\n")
	}
	return fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- Made by fitout, and removed when the run has ended. -->
<plist version="1.0">
<dict>
	<key>Label</key>
	<string>%s</string>
	<key>ProgramArguments</key>
	<array>
%s	</array>
	<key>RunAtLoad</key>
	<true/>
	<key>AbandonProcessGroup</key>
	<true/>
	<key>ProcessType</key>
	<string>Interactive</string>
</dict>
</plist>
`, label, arguments.String()), nil
}

func launchctl(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "/bin/launchctl", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("launchctl %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}

// bury ends what a runner that died has left at work: it would be done twice, side by side.
func bury(o Options, run string) {
	if o.Root == "/" && os.Geteuid() == 0 {
		_ = launchctl(context.Background(), "kill", "SIGKILL", "system/"+runPrefix+run)
	}
}

func stopping(Options) bool { return false }

// unit starts a run again after the machine has.
type unit struct{}

var bootUnit unit

// install says whether anything will start the run again.
func (unit) install(o Options, run string) bool {
	if o.Root != "/" || os.Geteuid() != 0 || !o.Detached {
		return false
	}
	exe, err := executorOf(o, run)
	if err != nil {
		return false
	}
	text, err := jobText(bootPrefix+run, append(runnerArgs(exe, o, run), "-boot"))
	if err != nil {
		return false
	}
	if old, err := os.ReadFile(bootJob(run)); err == nil && string(old) == text {
		return true
	}
	return disk.Replace(disk.OS, bootJob(run), []byte(text), 0o644) == nil
}

// remove takes the files away and has launchd forget the jobs. That ends their process, this one maybe: so nobody waits for it.
func (unit) remove(o Options, run string) {
	if o.Root != "/" || os.Geteuid() != 0 {
		return
	}
	for file, label := range map[string]string{bootJob(run): bootPrefix + run, runJob(o, run): runPrefix + run} {
		disk.OS.Remove(disk.HalfWritten(file))
		if disk.OS.Remove(file) != nil {
			continue
		}
		c := exec.Command("/bin/launchctl", "bootout", "system/"+label)
		if c.Start() == nil {
			go c.Wait()
		}
	}
}

// sweep removes the files of runs that are no more.
func (u unit) sweep(o Options) {
	if o.Root != "/" || os.Geteuid() != 0 {
		return
	}
	for _, run := range runsOf(bootJob("*")) {
		if st, err := readState(o.Dir, run); err != nil || st.ended {
			u.remove(o, run)
		}
	}
}

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

// On macOS a run is carried out by a job of launchd, which is read from a file in /Library/LaunchDaemons: so it belongs to no
// session, and is started again when the machine is. Both are removed at the run's end. Without the right to that, a process in
// a session of its own does it. None of this was seen on a Mac yet: it follows launchd.plist(5) and launchctl(1).

func socketPath(dir, run string) (path string, done func()) {
	return filepath.Join(runDir(dir, run), "socket"), func() {}
}

func runnerArgs(exe string, o Options, run string) []string {
	return []string{exe, "-dir", o.Dir, "-root", o.Root, "-run", run}
}

const (
	daemonDir = "/Library/LaunchDaemons"
	jobPrefix = "fitout.run."
)

func jobLabel(run string) string { return jobPrefix + run }

func jobFile(run string) string { return filepath.Join(daemonDir, jobLabel(run)+".plist") }

// Detach starts a runner that outlives the session.
func Detach(ctx context.Context, o Options, run string) error {
	exe, err := executorOf(o, run)
	if err != nil {
		return err
	}
	args := runnerArgs(exe, o, run)
	if o.Root == "/" && os.Geteuid() == 0 {
		if err := startJob(ctx, run, args); err == nil {
			return nil
		}
	}
	return spawnRunner(args)
}

func startJob(ctx context.Context, run string, args []string) error {
	text, err := jobText(run, args)
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(jobFile(run)); err == nil && string(old) == text { // of a runner that was killed
		if launchctl(ctx, "kickstart", "system/"+jobLabel(run)) == nil {
			return nil
		}
	}
	if err := disk.Replace(disk.OS, jobFile(run), []byte(text), 0o644); err != nil {
		return err
	}
	if err := launchctl(ctx, "bootstrap", "system", jobFile(run)); err != nil {
		disk.OS.Remove(jobFile(run))
		return err
	}
	return nil
}

// jobText describes the job: started once when it is read, which is now and at each start of the machine. What a command leaves
// running stays when it ends.
func jobText(run string, args []string) (string, error) {
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
`, jobLabel(run), arguments.String()), nil
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
		_ = launchctl(context.Background(), "kill", "SIGKILL", "system/"+jobLabel(run))
	}
}

func stopping(Options) bool { return false }

// unit starts a run again after the machine has: the job's file does.
type unit struct{}

var bootUnit unit

// install says whether anything will start the run again.
func (unit) install(o Options, run string) bool {
	if o.Root != "/" || os.Geteuid() != 0 || !o.Detached {
		return false
	}
	_, err := os.Lstat(jobFile(run))
	return err == nil
}

// remove takes the file away and has launchd forget the job. That ends its process, this one maybe: so nobody waits for it.
func (unit) remove(o Options, run string) {
	if o.Root != "/" || os.Geteuid() != 0 || disk.OS.Remove(jobFile(run)) != nil {
		return
	}
	c := exec.Command("/bin/launchctl", "bootout", "system/"+jobLabel(run))
	if c.Start() == nil {
		go c.Wait()
	}
}

// sweep removes the jobs of runs that are no more.
func (u unit) sweep(o Options) {
	if o.Root != "/" || os.Geteuid() != 0 {
		return
	}
	files, _ := filepath.Glob(filepath.Join(daemonDir, jobPrefix+"*.plist"))
	for _, f := range files {
		run := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f), jobPrefix), ".plist")
		if st, err := readState(o.Dir, run); err != nil || st.ended {
			u.remove(o, run)
		}
	}
}

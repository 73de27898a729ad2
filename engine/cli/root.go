// Package cli is the command: one file for each subcommand, each thin; what they do is in the packages below.
//
// Output: data on stdout, everything else on stderr. With --json, stdout has one event a line and a summary as the last.
// Nothing asks without a terminal; a secret never comes as an argument. Every flag --some-flag has the environment
// variable FITOUT_SOME_FLAG.
//
// Exit status, everywhere:
//
//	0  done, nothing left to do
//	1  bad usage, profile or inventory
//	2  changes are pending (plan only)
//	3  at least one device failed, could not be reached, or has drifted from the plan
//	4  declined or interrupted before everything was tried
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/fitout-dev/fitout/engine/executor/nodump"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/hashicorp/go-multierror"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// Exit statuses.
const (
	exitDone = iota
	exitUsage
	exitPending
	exitFailed
	exitStopped
)

// exit ends a command with a status. Its error was shown already.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// app is what all commands share.
type app struct {
	in       io.Reader
	out, err io.Writer

	json, quiet, verbose, noColor bool
	log                           *slog.Logger
	asking                        sync.Mutex // one question at a time
	mu                            sync.Mutex
	live                          *table // on the screen
}

// Main runs the command and returns its exit status.
func Main() int {
	nodump.Set()
	collectLater()
	return Run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}

// Run runs the command with these arguments and streams.
func Run(ctx context.Context, args []string, in io.Reader, out, err io.Writer) int {
	a := &app{in: in, out: out, err: err, log: slog.New(slog.DiscardHandler)}
	root := newRootCommand(a)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(err)
	return a.status(root.ExecuteContext(ctx))
}

// status shows an error and turns it into an exit status.
func (a *app) status(err error) int {
	var code exit
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &code):
		return int(code)
	}
	a.show(err)
	return exitUsage
}

// show prints an error as people need it: each cause on a line, and what to do.
func (a *app) show(err error) {
	var many *multierror.Error
	if !errors.As(err, &many) {
		fmt.Fprintf(a.err, "%s %s\n", a.paint(a.err, "31", "error:"), printable(err.Error(), "  "))
		if h := hint.Of(err); h != "" {
			fmt.Fprintf(a.err, "hint: %s\n", printable(h, "  "))
		}
		return
	}
	for _, e := range many.Errors {
		fmt.Fprintf(a.err, "%s\n", printable(e.Error(), "  "))
		if h := hint.Of(e); h != "" {
			fmt.Fprintf(a.err, "  hint: %s\n", printable(h, "  "))
		}
	}
	if n := len(many.Errors); n > 1 {
		fmt.Fprintf(a.err, "%d errors\n", n)
	}
}

// showOf prints the error of one device, which most of them name.
func (a *app) showOf(device string, err error) {
	text := printable(err.Error(), "  ")
	if !strings.HasPrefix(text, device+" ") && !strings.HasPrefix(text, device+":") {
		text = device + ": " + text
	}
	fmt.Fprintf(a.err, "%s %s\n", a.paint(a.err, "31", "error:"), text)
	if h := hint.Of(err); h != "" {
		fmt.Fprintf(a.err, "  hint: %s\n", printable(h, "  "))
	}
}

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "fitout",
		Short: "Bring machines to the state that a profile declares",
		Long: `fitout brings machines to the state that a profile declares: new laptops, a fleet that needs an update,
a desktop back from repair. Nothing need be installed on a device but SSH or WinRM.

Exit status: 0 done, nothing left to do; 1 bad usage, profile or inventory; 2 changes are pending (plan only);
3 a device failed, could not be reached or has drifted; 4 declined or interrupted.

Every flag --some-flag can be set as FITOUT_SOME_FLAG in the environment.`,
		Example: `  fitout demo                                          see it work on a throw-away device
  fitout plan -p sales-laptop.yaml --device ssh://root@10.0.3.42
  fitout apply -i inventory.yaml laptops`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			if err := fromEnvironment(c.Flags()); err != nil {
				return err
			}
			if a.verbose {
				a.log = slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelDebug}))
			}
			return nil
		},
	}
	root.SetVersionTemplate("fitout {{.Version}}\n")
	f := root.PersistentFlags()
	f.BoolVar(&a.json, "json", false, "print one JSON event a line, and a summary as the last line")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "print results and errors only")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "log what is done, on stderr")
	f.BoolVar(&a.noColor, "no-color", false, "print no colors (as NO_COLOR does)")
	root.SetFlagErrorFunc(badFlag)
	root.AddCommand(
		newApplyCommand(a), newUndoCommand(a), newAttachCommand(a), newPlanCommand(a), newCheckCommand(a), newFactsCommand(a), newRunsCommand(a),
		newTrustCommand(a), newBootstrapCommand(a), newSecretCommand(a), newCleanCommand(a), newSchemaCommand(a), newExplainCommand(a),
		newProfilesCommand(a), newDemoCommand(a), newCompletionCommand(a), newVersionCommand(a),
	)
	root.CompletionOptions.DisableDefaultCmd = true
	eachByUse(root)
	return root
}

// fromEnvironment sets the flags that weren't given from the environment.
func fromEnvironment(flags *pflag.FlagSet) error {
	var errs error
	flags.VisitAll(func(f *pflag.Flag) {
		name := "FITOUT_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		v := os.Getenv(name)
		if f.Changed || v == "" || f.Name == "help" || f.Name == "version" {
			return
		}
		if err := flags.Set(f.Name, v); err != nil {
			errs = errors.Join(errs, fmt.Errorf("%s: %w", name, err))
		}
	})
	return errs
}

// terminal says whether a stream is one, and how wide.
func terminal(stream any) (width int, ok bool) {
	f, isFile := stream.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	w, _, err := term.GetSize(int(f.Fd()))
	if err != nil || w <= 0 {
		w = 80
	}
	return w, true
}

// color says whether to paint on a stream.
func (a *app) color(stream io.Writer) bool {
	if _, ok := terminal(stream); !ok || a.noColor || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	return enableColors(stream)
}

func (a *app) paint(stream io.Writer, code, text string) string {
	if code == "" || !a.color(stream) {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// printable keeps a text that may come from a device from moving the cursor about; its further lines get an indent.
func printable(text, indent string) string {
	text = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r >= ' ' && r != 0x7f && (r < 0x80 || r > 0x9f) {
			return r
		}
		return '?'
	}, strings.TrimSpace(text))
	return strings.ReplaceAll(text, "\n", "\n"+indent)
}

// say tells people what goes on.
func (a *app) say(format string, args ...any) {
	if !a.quiet {
		defer a.aside()()
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

// front says which table is on the screen.
func (a *app) front(t *table) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.live = t
}

// aside takes the live table off the screen until back is called.
func (a *app) aside() (back func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.live
	if t == nil {
		return func() {}
	}
	t.hide()
	return t.show
}

// interrupts calls first at the first Ctrl-C and second at the next.
func interrupts(first, second func()) (stop func()) {
	c := make(chan os.Signal, 2)
	signal.Notify(c, os.Interrupt, terminate)
	done := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-c:
				if n == 0 {
					first()
				} else {
					second()
				}
			case <-done:
				return
			}
		}
	}()
	return func() { signal.Stop(c); close(done) }
}

// folder is where fitout keeps things of a kind: "state" or "config".
func folder(kind string) (string, error) {
	variable, below := "XDG_STATE_HOME", filepath.Join(".local", "state")
	if kind == "config" {
		variable, below = "XDG_CONFIG_HOME", ".config"
	}
	if d := os.Getenv(variable); filepath.IsAbs(d) {
		return filepath.Join(d, "fitout"), nil
	}
	if runtime.GOOS == "windows" {
		d, err := os.UserConfigDir()
		if kind == "state" { // what happened is this machine's matter: not the profile's that roams
			d, err = os.UserCacheDir()
		}
		return filepath.Join(d, "fitout"), err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", hint.New(err, "set HOME, or %s", variable)
	}
	return filepath.Join(home, below, "fitout"), nil
}

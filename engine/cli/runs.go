package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/engine/plan"
	"github.com/fitout-dev/fitout/engine/store"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/spf13/cobra"
)

func newRunsCommand(a *app) *cobra.Command {
	n := 20
	c := &cobra.Command{
		Use:   "runs",
		Short: "List what was done",
		Example: `  fitout runs
  fitout runs show last
  fitout runs show 20261122-101500-4f2a1c lt-042`,
		RunE: func(*cobra.Command, []string) error { return runRuns(a, n) },
	}
	c.Flags().IntVarP(&n, "number", "n", n, "how many runs to list (`N`)")
	c.AddCommand(&cobra.Command{
		Use:     "show [RUN] [DEVICE...]",
		Short:   "Show one run: every change, with before and after",
		Long:    "Show one run: every change, with before and after. RUN is its id, the beginning or end of it, or \"last\".",
		Example: "  fitout runs show last",
		RunE:    func(_ *cobra.Command, args []string) error { return runRunsShow(a, args) },
	})
	return c
}

func openStore() (*store.Store, error) {
	dir, err := folder("state")
	if err != nil {
		return nil, err
	}
	return store.Open(filepath.Join(dir, "runs.db"))
}

func runRuns(a *app, n int) error {
	s, err := openStore()
	if err != nil {
		return err
	}
	defer s.Close()
	runs, err := s.Runs(n)
	if err != nil {
		return err
	}
	if a.json {
		for _, r := range runs {
			if err := a.printJSON(r); err != nil {
				return err
			}
		}
		return nil
	}
	if len(runs) == 0 {
		a.say("nothing was done yet: see `fitout apply --help`")
		return nil
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "RUN\tSTARTED\tTOOK\tBY\tDEVICES\tRESULT")
	for _, r := range runs {
		took := "not ended"
		if !r.Finished.IsZero() {
			took = max(r.Finished.Sub(r.Started), 0).Round(100 * time.Millisecond).String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", r.ID, r.Started.Local().Format("2006-01-02 15:04"), took, r.Who, len(r.Devices), statuses(r.Devices))
	}
	return w.Flush()
}

// statuses counts devices by what became of them: "3 changed, 1 failed".
func statuses(devices []store.Device) string {
	count := map[string]int{}
	for _, d := range devices {
		count[d.Status]++
	}
	var parts []string
	for _, s := range slices.Sorted(maps.Keys(count)) {
		parts = append(parts, fmt.Sprintf("%d %s", count[s], s))
	}
	return strings.Join(parts, ", ")
}

func runRunsShow(a *app, args []string) error {
	s, err := openStore()
	if err != nil {
		return err
	}
	defer s.Close()
	id := ""
	if len(args) > 0 {
		id, args = args[0], args[1:]
	}
	r, err := s.Find(id)
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, d := range args {
		wanted[d] = true
	}
	type shown struct {
		store.Device
		Events []wire.Event `json:"events"`
	}
	var devices []shown
	for _, d := range r.Devices {
		if len(wanted) > 0 && !wanted[d.Name] {
			continue
		}
		delete(wanted, d.Name)
		events, err := s.Events(r.ID, d.Name)
		if err != nil {
			return err
		}
		devices = append(devices, shown{d, events})
	}
	if len(devices) == 0 && len(args) > 0 {
		return hint.New(fmt.Errorf("no device %s in run %s", strings.Join(args, ", "), r.ID), "`fitout runs show %s` shows all of them", r.ID)
	}
	if a.json {
		return a.printJSON(struct {
			store.Run
			Devices []shown `json:"devices"`
		}{r, devices})
	}
	fmt.Fprintf(a.out, "run %s: %s by %s from %s, started %s\n", r.ID, r.Command, r.Who, r.From, r.Started.Local().Format(time.DateTime))
	for _, d := range devices {
		fmt.Fprintf(a.out, "\n%s: %s\n", d.Name, d.Status)
		if d.Error != "" {
			fmt.Fprintf(a.out, "  %s\n", strings.ReplaceAll(d.Error, "\n", "\n  "))
		}
		for _, e := range d.Events {
			if e.Type == wire.Resolved && e.Status != wire.InDesiredState {
				fmt.Fprint(a.out, plan.RenderEvent(e, plan.Style{Color: a.color(a.out)}))
			}
		}
		if d.Reboot != "" {
			fmt.Fprintf(a.out, "  a reboot is needed: %s\n", d.Reboot)
		}
	}
	return nil
}

func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

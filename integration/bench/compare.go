package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// measure is what one run took.
type measure struct{ wall, cpu, devices, rss float64 } // seconds, seconds, seconds, MB

// run runs a contestant once, unmeasured.
func (c contestant) run(ctx context.Context, f *field) error {
	_, err := c.measure(ctx, f)
	return err
}

func (c contestant) measure(ctx context.Context, f *field) (measure, error) {
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Dir = f.dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	before := f.cpu()
	start := time.Now()
	err := cmd.Run()
	m := measure{wall: time.Since(start).Seconds()}
	if err != nil {
		return m, fmt.Errorf("%s: %w: %s", c.name, err, bytes.TrimSpace(out.Bytes()))
	}
	m.devices = (f.cpu() - before).Seconds()
	m.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	m.rss = maxRSS(cmd.ProcessState)
	if c.after != nil {
		err = c.after(ctx)
	}
	return m, err
}

// cpu is what all machines have used.
func (f *field) cpu() (sum time.Duration) {
	for _, m := range f.machines {
		t, _ := m.CPUTime() // 0 where the machine counts none
		sum += t
	}
	return sum
}

// compare lets all contestants run by turns and prints what they took. prepare, if there is one, comes before each run.
func (f *field) compare(ctx context.Context, title string, all []contestant, prepare func(context.Context) error) error {
	results := make([][]measure, len(all))
	for rep := range f.o.reps {
		for i, c := range all {
			if c.once && rep > 0 {
				continue
			}
			for _, first := range []func(context.Context) error{prepare, c.before} {
				if first == nil {
					continue
				}
				if err := first(ctx); err != nil {
					return err
				}
			}
			m, err := c.measure(ctx, f)
			if err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "%s: %.3f s\n", c.name, m.wall)
			results[i] = append(results[i], m)
		}
	}
	pick := func(i int, field func(measure) float64) float64 {
		var v []float64
		for _, m := range results[i] {
			v = append(v, field(m))
		}
		return median(v)
	}
	us := 0
	for i, c := range all {
		if c.name == f.fitout("apply").name {
			us = i
		}
	}
	wall := func(m measure) float64 { return m.wall }
	fmt.Printf("| %s | s | takes of fitout's time | controller's CPU s | devices' CPU s | memory, MB |\n|---|---|---|---|---|---|\n", title)
	for i, c := range all {
		fmt.Printf("| %s | %s | %.3g x | %s | %s | %s |\n", c.name, seconds(pick(i, wall)), pick(i, wall)/pick(us, wall),
			seconds(pick(i, func(m measure) float64 { return m.cpu })), seconds(pick(i, func(m measure) float64 { return m.devices })),
			memory(pick(i, func(m measure) float64 { return m.rss })))
	}
	return nil
}

// memory shows a size. A process that was just forked is as large as this one, so a smaller one can't be told.
func memory(mb float64) string {
	if mb <= ownRSS() {
		return "-"
	}
	return fmt.Sprintf("%.0f", mb)
}

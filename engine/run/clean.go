package run

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/modules/hint"
)

// Clean removes fitout's folder from a device, unless a run is under way there.
func Clean(ctx context.Context, d Device) error {
	t, err := d.Dial(ctx)
	if err != nil {
		return err
	}
	defer t.Close()
	goos, err := system(ctx, t, d.Target)
	if err != nil {
		return err
	}
	line, err := linesFor(goos).clean(d.Target)
	if err != nil {
		return err
	}
	p, err := t.Start(ctx, transport.Command{Line: line, Elevate: d.Target.Elevate && goos != "windows"})
	if err != nil {
		return err
	}
	p.Stdin().Close()
	if _, err := io.Copy(io.Discard, p.Stdout()); err != nil {
		return err
	}
	exit, err := p.Wait()
	switch {
	case err != nil:
		return err
	case exit.Code == 75:
		return hint.New(errors.New("a run is under way on this device"), "wait for it to end")
	case exit.Code != 0 && goos == "windows":
		return fmt.Errorf("remove fitout's folder: %w", windowsWords(exit.Code, lastLines(exit.Stderr), ""))
	case exit.Code != 0:
		return fmt.Errorf("remove fitout's folder: %w", words(exit))
	}
	return nil
}

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
	// The lock is the executor's, which may need a moment after a run's end; where flock(1) is missing, nobody can ask, and an empty lock file must do.
	script := d.Target.folder() + `; [ -d "$d" ] || exit 0
if command -v flock >/dev/null 2>&1; then [ ! -e "$d/lock" ] || flock -n "$d/lock" true || { sleep 1; flock -n "$d/lock" true; } || exit 75
elif [ -s "$d/lock" ]; then exit 75; fi
rm -rf "$d"
[ "$d" != /var/lib/fitout ] || for f in /etc/systemd/system/fitout-boot-*.service; do
if [ -e "$f" ]; then rm -f "$f" "${f%/*}/multi-user.target.wants/${f##*/}"; fi; done`
	p, err := t.Start(ctx, transport.Command{Line: shell(script), Elevate: d.Target.Elevate})
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
	case exit.Code != 0:
		return fmt.Errorf("remove fitout's folder: %w", words(exit))
	}
	return nil
}

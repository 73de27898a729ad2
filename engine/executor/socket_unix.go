//go:build unix

package executor

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/fitout-dev/fitout/engine/executor/disk"
)

// dialSocket joins the runner that listens for a run.
func dialSocket(ctx context.Context, dir, run string) (net.Conn, error) {
	path, done := socketPath(dir, run)
	defer done()
	var d net.Dialer
	return d.DialContext(ctx, "unix", path)
}

func listenRunner(dir, run string) (net.Listener, error) {
	path, done := socketPath(dir, run)
	defer done()
	disk.OS.Remove(filepath.Join(runDir(dir, run), "socket"))
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("let sessions join run %s: %w", run, err)
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // tidy removes it; its path may have been an open folder's
	}
	return l, os.Chmod(filepath.Join(runDir(dir, run), "socket"), 0o600)
}

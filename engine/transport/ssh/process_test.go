package ssh

import (
	"bytes"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/engine/transport/sshserver"
	"github.com/fitout-dev/fitout/engine/transport/transporttest"
)

// A server that closes a session before it is asked for anything hasn't ended the connection.
func TestSessionsThatAreClosedEarly(t *testing.T) {
	key := newKey(t, "")
	var abandon atomic.Int32
	s := startServer(t, sshserver.Options{AuthorizedKey: key.public, SFTP: true, Abandon: func() bool { return abandon.Add(-1) >= 0 }})
	tr := dial(t, Options{Address: s.Address(), IdentityFile: key.path, HostKey: s.HostKey(), HomeDir: t.TempDir()})

	ran := filepath.Join(t.TempDir(), "ran")
	abandon.Store(openTries - 1)
	output(t, tr, "echo once >>"+ran)
	if b, err := os.ReadFile(ran); err != nil || string(b) != "once\n" {
		t.Errorf("the program left %q, %v", b, err)
	}
	abandon.Store(openTries - 1)
	if err := tr.Upload(t.Context(), ran, bytes.NewReader([]byte("x"))); err != nil {
		t.Error(err)
	}
	abandon.Store(openTries)
	if _, err := tr.Start(t.Context(), transport.Command{Line: "true"}); transporttest.KindOf(err) != transport.Refused {
		t.Errorf("all sessions closed: got %v, want kind Refused", err)
	}
	output(t, tr, "true") // the connection is as it was
}

//go:build unix

package host

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

func owner(fi fs.FileInfo) (uid, gid int) {
	st := fi.Sys().(*syscall.Stat_t)
	return int(st.Uid), int(st.Gid)
}

func ids(f *os.File) (uid, gid int) {
	fi, err := f.Stat()
	if err != nil {
		return -1, -1
	}
	return owner(fi)
}

// syncDir makes a rename survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// isBusy is how a file that something is mounted on refuses to be replaced.
func isBusy(err error) bool { return errors.Is(err, syscall.EBUSY) }

// openMoved is how a file that was moved into place is opened to be given its owner and mode, and synced: who opens it to write
// would end its lease.
const openMoved = os.O_RDONLY

func attributesOf(fs.FileInfo) uint32 { return 0 }

// replace gives the written file its name.
func (s steps) replace(tmp *os.File, p string, _ *uint32) error {
	s.before("put the file in its place:", p)
	return os.Rename(tmp.Name(), p)
}

func (s steps) remove(p string) error { return os.Remove(p) }

func setAttributes(string, uint32) error { return errors.ErrUnsupported }

func chmod(f *os.File, mode uint32) error { return f.Chmod(fileMode(mode)) }

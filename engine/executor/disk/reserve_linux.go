package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Reserve has the disk keep room for what will be written to f between two offsets; its size stays. File systems that
// have no such thing keep none.
func Reserve(f File, from, to int64) error {
	file, ok := f.(*os.File)
	if !ok {
		return nil
	}
	for {
		err := unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_KEEP_SIZE, from, to-from)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
			return nil
		case err != nil:
			return &os.PathError{Op: "reserve room for", Path: f.Name(), Err: err}
		default:
			return nil
		}
	}
}

package host

import (
	"errors"
	"io/fs"
	"os/exec"
)

// NoProgram says whether Run failed because the program isn't there.
func NoProgram(err error) bool {
	return errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist)
}

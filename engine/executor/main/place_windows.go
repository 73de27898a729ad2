package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/fitout-dev/fitout/engine/executor"
	"golang.org/x/sys/windows"
)

// What sh does elsewhere, cmd.exe can't: the executor takes its place and looks at it itself.
func init() {
	size := flag.Int64("size", 0, "how large this program has to be")
	install := flag.String("install", "", "take the place of the executor with this hash")
	placed = func(dir *string) (done bool, err error) {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return false, err
		}
		if *install != "" {
			if err := executor.Install(*dir, *install); err != nil {
				return true, err
			}
			fmt.Printf("\nfitout-installed\n")
			return true, nil
		}
		// Whoever we start is in no folder of ours, which could not be removed then.
		if err := os.Chdir(filepath.VolumeName(*dir) + `\`); err != nil {
			return false, err
		}
		if *size == 0 {
			return false, nil
		}
		if why := executor.CheckPlace(*dir, *size); why != nil {
			fmt.Printf("\nfitout-missing Windows %s; %s %s\n", os.Getenv("PROCESSOR_ARCHITECTURE"), unpacker(), strings.ReplaceAll(why.Error(), "\n", " "))
			return true, nil
		}
		return false, nil
	}
}

// unpacker is what the controller may have the next executor unpacked by.
func unpacker() string {
	system, err := windows.GetSystemDirectory()
	if err != nil {
		return "powershell"
	}
	if _, err := os.Stat(filepath.Join(system, "tar.exe")); errors.Is(err, os.ErrNotExist) {
		return "powershell"
	}
	return "tar"
}

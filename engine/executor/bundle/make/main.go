// Command make builds the executors for all platforms, and a release of fitout that carries them.
//
//	go run ./engine/executor/bundle/make -o engine/executor/bundle/dist
//	go run ./engine/executor/bundle/make -release ./fitout          # for this platform, or GOOS and GOARCH
//	go run ./engine/executor/bundle/make -for linux/amd64           # of the executors, only this one
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/engine/executor/bundle"
)

func main() {
	out := flag.String("o", "engine/executor/bundle/dist", "folder for the executors")
	release := flag.String("release", "", "also build fitout itself, with the executors inside, to this file")
	only := flag.String("for", strings.Join(bundle.Platforms, ","), "platforms of the executors, separated by commas")
	flag.Parse()
	if err := run(context.Background(), *out, *release, strings.Split(*only, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "make:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out, release string, platforms []string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "fitout-make-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	for _, p := range platforms {
		if !slices.Contains(bundle.Platforms, p) {
			return fmt.Errorf("%s is none of %s", p, strings.Join(bundle.Platforms, ", "))
		}
		goos, arch, _ := strings.Cut(p, "/")
		bin, err := bundle.Build(ctx, ".", filepath.Join(tmp, "executor"), goos, arch)
		if err != nil {
			return err
		}
		z, ix, err := bundle.Compress(bin)
		if err != nil {
			return err
		}
		base := filepath.Join(out, goos+"-"+arch)
		if err := os.WriteFile(base+".gz", z, 0o644); err != nil {
			return err
		}
		if err := os.WriteFile(base+".json", ix, 0o644); err != nil {
			return err
		}
		fmt.Printf("%-14s %5.2f MB, compressed %4.2f MB\n", p, float64(len(bin))/1e6, float64(len(z))/1e6)
	}
	if release == "" {
		return nil
	}
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"build", "-tags=release", "-o", release}, bundle.Flags[:2]...), "-ldflags=-s -w", ".")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

package applications

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/setup"
)

// installerFile is an installer that may be run.
type installerFile struct {
	path string
	kind setup.Kind
}

// fetch brings the installer to where it can be run, and verifies it. What cleanup removes are copies.
func fetch(ctx context.Context, h *host.Host, want Installer) (file installerFile, cleanup func() error, err error) {
	cleanup = func() error { return nil }
	file.path = want.Path
	if want.Path == "" || want.Hash != "" {
		content, err := open(ctx, h, want)
		if err != nil {
			return file, cleanup, err
		}
		defer content.Close()
		if file.path, err = copyHere(ctx, h, want, content); err != nil {
			return file, cleanup, err
		}
		cleanup = func() error { return setup.Drop(h, file.path) }
	}
	head, err := readHead(h, file.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = hint.New(err, "put the installer there first, or declare it under files")
	}
	if err != nil {
		return file, cleanup, fmt.Errorf("installer of %s: %w", want.Name, err)
	}
	file.kind = setup.Recognise(head)
	switch {
	case file.kind == "":
		return file, cleanup, fmt.Errorf("installer of %s: it is neither a program for Windows nor a package of Windows Installer", want.Name)
	case (want.Kind == string(setup.MSI)) != (file.kind == setup.MSI) && want.Kind != "":
		return file, cleanup, hint.New(fmt.Errorf("kind: the installer of %s is of kind %s, and not %s", want.Name, file.kind, want.Kind), "leave `kind` out")
	case want.Kind != "":
		file.kind = setup.Kind(want.Kind)
	}
	return file, cleanup, nil
}

func open(ctx context.Context, h *host.Host, want Installer) (io.ReadCloser, error) {
	switch {
	case want.Source != nil:
		content, err := h.OpenBlob(*want.Source)
		if err != nil {
			return nil, fmt.Errorf("installer of %s: %w", want.Name, err)
		}
		return content, nil
	case want.URL != "":
		return setup.Fetch(ctx, want.URL)
	}
	return h.Open(want.Path)
}

// copyHere writes an installer into our own folder under a name that Windows knows how to run.
func copyHere(ctx context.Context, h *host.Host, want Installer, content io.Reader) (string, error) {
	folder, err := ownFolder(h)
	if err != nil {
		return "", err
	}
	in := bufio.NewReader(cancellable{ctx, content})
	head, err := in.Peek(8)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("installer of %s: %w", want.Name, err)
	}
	path := folder + `\` + fileName(want.Name) + ".exe"
	if setup.IsPackage(head) {
		path = strings.TrimSuffix(path, ".exe") + ".msi"
	}
	b, err := setup.Put(h, path, in)
	if err != nil {
		return "", errors.Join(err, setup.Drop(h, path))
	}
	hash := want.Hash
	if want.Source != nil {
		hash = want.Source.Hash
	}
	if !strings.EqualFold(b.Hash, hash) {
		err := hint.New(fmt.Errorf("installer of %s: its SHA-256 is %s, and not %s: nothing was run", want.Name, b.Hash, hash),
			"if the maker has put another file there and you trust it, correct `hash`")
		return "", errors.Join(err, setup.Drop(h, path))
	}
	return path, nil
}

type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c cancellable) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

func ownFolder(h *host.Host) (string, error) {
	folder, err := setup.Folder()
	if err != nil || h.Exists(folder) {
		return folder, err
	}
	return folder, h.Mkdir(folder, host.Attr{})
}

// fileName is a name made of what is safe in a file's.
func fileName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '_'
	}, name)
}

func readHead(h *host.Host, path string) ([]byte, error) {
	f, err := h.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, setup.HeadSize))
}

//go:build windows

package main

import (
	"archive/tar"
	"bufio"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// tarMain unpacks what bsdtar would: -x of an archive in a file or on stdin, compressed or not, which it finds out itself.
// -C, -v, -k and --strip-components are known; anything else is refused rather than ignored.
func tarMain(args []string) (int, error) {
	var x, verbose, keep bool
	var file, dir string
	strip := 0
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if s, ok := strings.CutPrefix(arg, "--strip-components="); ok {
			if _, err := fmt.Sscan(s, &strip); err != nil {
				return 1, fmt.Errorf("%s: %w", arg, err)
			}
			continue
		}
		letters, dashed := strings.CutPrefix(arg, "-")
		if !dashed && i > 0 {
			return 1, fmt.Errorf("%s: Not found in archive", arg)
		}
		for j, letter := range letters {
			takes := func() (string, error) { // the rest of the word, or the next one
				if rest := letters[j+1:]; rest != "" && dashed {
					return rest, nil
				}
				if i++; i == len(args) {
					return "", fmt.Errorf("Option -%c requires an argument", letter)
				}
				return args[i], nil
			}
			var err error
			rest := false
			switch letter {
			case 'x':
				x = true
			case 'z', 'j', 'p', 'm', 'o': // of no consequence here
			case 'v':
				verbose = true
			case 'k':
				keep = true
			case 'f':
				file, err = takes()
				rest = dashed
			case 'C':
				dir, err = takes()
				rest = dashed
			default:
				err = fmt.Errorf("Option -%c is not supported", letter)
			}
			if err != nil {
				return 1, err
			}
			if rest {
				break
			}
		}
	}
	if !x {
		return 1, errors.New("Must specify one of -c, -r, -t, -u, -x")
	}
	in := os.Stdin
	if file != "" && file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return 1, fmt.Errorf("Error opening archive: Failed to open '%s'", file)
		}
		defer f.Close()
		in = f
	}
	if dir != "" {
		if err := os.Chdir(dir); err != nil {
			return 1, fmt.Errorf("could not chdir to '%s'", dir)
		}
	}
	return unpack(in, strip, verbose, keep)
}

func unpack(in io.Reader, strip int, verbose, keep bool) (code int, err error) {
	archive, err := uncompressed(bufio.NewReaderSize(in, 1<<20))
	if err != nil {
		return 1, fmt.Errorf("Error opening archive: %w", err)
	}
	for r, first := tar.NewReader(archive), true; ; first = false {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil && first {
			return 1, errors.New("Error opening archive: Unrecognized archive format")
		}
		if err != nil {
			return 1, err
		}
		name := h.Name
		for range strip {
			_, name, _ = strings.Cut(name, "/")
		}
		if name == "" {
			continue
		}
		if verbose {
			fmt.Fprintln(os.Stderr, "x", name)
		}
		if err := entry(h, filepath.FromSlash(name), r, keep); err != nil {
			fmt.Fprintf(os.Stderr, "tar: %s: %v\n", name, err)
			code = 1
		}
	}
	_, err = io.Copy(io.Discard, archive) // whoever writes may not meet a closed pipe
	if err == nil && code != 0 {
		err = errors.New("Error exit delayed from previous errors.")
	}
	return code, err
}

func uncompressed(in *bufio.Reader) (io.Reader, error) {
	magic, err := in.Peek(3)
	if err != nil && len(magic) == 0 {
		return nil, errors.New("Unrecognized archive format")
	}
	switch {
	case strings.HasPrefix(string(magic), "\x1f\x8b"):
		return gzip.NewReader(in)
	case string(magic) == "BZh":
		return bzip2.NewReader(in), nil
	}
	return in, nil
}

func entry(h *tar.Header, name string, content io.Reader, keep bool) error {
	if !filepath.IsLocal(name) {
		return errors.New("Path contains '..'")
	}
	if h.Typeflag == tar.TypeDir {
		return os.MkdirAll(name, 0o755)
	}
	if h.Typeflag != tar.TypeReg {
		return errors.New("Can't create '" + name + "'")
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	flags := os.O_CREATE | os.O_WRONLY | os.O_EXCL
	if _, err := os.Lstat(name); err == nil {
		if keep {
			return nil
		}
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(name, flags, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Chtimes(name, h.ModTime, h.ModTime)
}

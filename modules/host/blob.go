package host

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// Blob names a file's content: its SHA-256 in hex, and its size in bytes. The content itself travels apart from the
// profile and lies in the device's content store.
type Blob struct {
	// The SHA-256 in hex.
	Hash string `json:"hash" title:"Hash"`
	// The size in bytes.
	Size int64 `json:"size" title:"Size"`
}

// Blobs opens contents by their hash.
type Blobs interface {
	OpenBlob(hash string) (io.ReadCloser, error)
}

// Movable is a content that lies in a file of its own. Write moves it into place where it can, since a large one takes time
// and room to copy.
type Movable interface {
	// MoveTo renames the content's file to path, replacing what is there. False: it can't be moved, and must be read.
	MoveTo(path string) bool
}

// Witness is a content store that may know what a file holds without reading it: since it has put it there, and can tell that
// nobody has written to it since. Size and date alone prove nothing.
type Witness interface {
	Known(f *os.File) (Blob, bool)
}

// OpenBlob opens the content that b names.
func (h *Host) OpenBlob(b Blob) (io.ReadCloser, error) {
	if h.blobs == nil {
		return nil, errors.New("no content store")
	}
	return h.blobs.OpenBlob(b.Hash)
}

// BlobOf reads r to its end and names what it held.
func BlobOf(r io.Reader) (Blob, error) {
	sum := sha256.New()
	n, err := io.Copy(sum, r)
	if err != nil {
		return Blob{}, err
	}
	return Blob{hex.EncodeToString(sum.Sum(nil)), n}, nil
}

// HashFile names the content of a file on the device.
func (h *Host) HashFile(path string) (Blob, error) {
	f, err := h.Open(path)
	if err != nil {
		return Blob{}, err
	}
	defer f.Close()
	if w, ok := h.blobs.(Witness); ok {
		if b, ok := w.Known(f); ok {
			return b, nil
		}
	}
	b, err := BlobOf(f)
	if err != nil {
		return b, fmt.Errorf("read %s: %w", path, err)
	}
	return b, nil
}

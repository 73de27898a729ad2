package run

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/bundle"
)

// archive makes a compressed tar archive of the executor without compressing it again: what surrounds it in the archive is
// compressed by itself, and what gzip has made stays gzip when it is put together.
func archive(e *bundle.Executor, compressed io.Reader) (io.Reader, error) {
	var before bytes.Buffer
	w := tar.NewWriter(&before)
	if err := w.WriteHeader(&tar.Header{Name: "executor.exe", Mode: 0o755, Size: e.Size, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}); err != nil {
		return nil, err
	}
	const block = 512
	after := make([]byte, (block-e.Size%block)%block+2*block)
	head, err := zip(before.Bytes())
	if err != nil {
		return nil, err
	}
	tail, err := zip(after)
	if err != nil {
		return nil, err
	}
	return io.MultiReader(head, compressed, tail), nil
}

func zip(b []byte) (io.Reader, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	return &out, w.Close()
}

//go:build unix

package profile

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fitout-dev/fitout/modules/host"
)

// The name of a large file is remembered until anything happens to the file.
func TestNamesAreRemembered(t *testing.T) {
	dir := t.TempDir()
	folder := knownNames(filepath.Join(dir, "names"))
	path := filepath.Join(dir, "large.msi")
	write := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	name := func(n knownNames) (_ host.Blob, read bool) {
		t.Helper()
		l := &Loader{Names: string(n), blobs: map[string]*naming{}}
		naming, err := l.name(path, func() (fs.File, error) { return os.Open(path) })
		if err != nil {
			t.Fatal(err)
		}
		<-naming.done
		if naming.err != nil {
			t.Fatal(naming.err)
		}
		return naming.Blob, !naming.known
	}
	defer func(d time.Duration) { settled = d }(settled)
	settled = 0
	content := bytes.Repeat([]byte("fitout "), remembered/7+1)
	write(content)

	first, read := name(folder)
	if again, readAgain := name(folder); !read || readAgain || again != first {
		t.Errorf("read %t and %t: %v, then %v", read, readAgain, first, again)
	}
	if b, read := name(""); !read || b != first {
		t.Errorf("without a folder: read %t, %v", read, b)
	}

	// Another content of the same size and time.
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	content[5]++
	write(content)
	if err := os.Chtimes(path, fi.ModTime(), fi.ModTime()); err != nil {
		t.Fatal(err)
	}
	second, read := name(folder)
	if !read || second == first {
		t.Errorf("a file that has changed is %v, read %t", second, read)
	}

	// Another file in its place.
	content[5]++
	if err := os.WriteFile(path+".new", content, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if third, read := name(folder); !read || third == second {
		t.Errorf("a file that was replaced is %v, read %t", third, read)
	}

	// What is damaged, or half written, counts for nothing.
	all, err := filepath.Glob(filepath.Join(string(folder), "*"))
	if err != nil || len(all) == 0 {
		t.Fatal("nothing is remembered", err)
	}
	third, _ := name(folder)
	for _, file := range all {
		if err := os.WriteFile(file, []byte(`{"Stamp": {`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if b, read := name(folder); !read || b != third {
		t.Errorf("with damaged names: read %t, %v", read, b)
	}

	// A file that was written just now may be written to again within the same tick of the clock.
	settled = time.Hour
	write(append(content, "more"...))
	for i := range 2 {
		if _, read := name(folder); !read {
			t.Errorf("time %d: a fresh file's name was remembered", i)
		}
	}

	// A small one is hashed each time: that is quick.
	settled = 0
	write([]byte("small"))
	name(folder)
	if _, read := name(folder); !read {
		t.Error("a small file's name was remembered")
	}
}

package executor

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"

	"github.com/fitout-dev/fitout/engine/executor/disk"
	"github.com/fitout-dev/fitout/engine/executor/journal"
	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
)

// How large a content may be that is kept for undo: as a file, and sealed in a record of the journal.
const (
	maxKept   = 64 << 20
	maxSealed = 32 << 20
)

// tooLarge says why a content isn't kept.
func tooLarge(c modules.Content, secret bool) error {
	most := maxKept
	if secret {
		most = maxSealed
	}
	if c.Blob.Size > int64(most) {
		return fmt.Errorf("%s has %d MB, and no more than %d are kept", c.Path, c.Blob.Size>>20, most>>20)
	}
	return nil
}

// blobs are all contents that a device has: of its store, and of what runs have replaced.
type blobs struct {
	*contents
	dir string // the executor's
}

func (b blobs) OpenBlob(hash string) (io.ReadCloser, error) {
	r, err := b.contents.OpenBlob(hash)
	if err == nil {
		return r, nil
	}
	if f, openErr := os.Open(b.kept(hash)); openErr == nil {
		return struct {
			io.Reader
			io.Closer
		}{&verified{r: f, want: hash, sum: sha256.New()}, f}, nil
	}
	return nil, err
}

func (b blobs) has(want host.Blob) bool {
	if b.contents.has(want) {
		return true
	}
	fi, err := os.Stat(b.kept(want.Hash))
	return err == nil && fi.Size() == want.Size
}

// kept finds a content among those that runs have kept.
func (b blobs) kept(hash string) string {
	if !validHash(hash) {
		return ""
	}
	found, _ := filepath.Glob(filepath.Join(runDir(b.dir, "*"), "kept", hash))
	if len(found) == 0 {
		return ""
	}
	return found[0]
}

// remember keeps a secret content in memory.
func (c *contents) remember(hash string, content []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.memory[hash] = content
}

func (c *contents) secrets() map[string][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.memory)
}

// intend records what is about to be changed, and how it was.
func (r *run) intend(items []*item, haves []any, events []*wire.Event) error {
	var records []any
	intents := map[string]*intent{}
	for i, it := range items {
		if r.st.intents[it.Address] != nil {
			continue
		}
		in := &intent{Address: it.Address, Event: wire.Event{Op: events[i].Op, Changes: events[i].Changes, Before: events[i].Before}}
		have, err := json.Marshal(haves[i])
		if err != nil {
			return err
		}
		secret := it.observesSecret() || shows(r.host, have)
		if in.Have = have; secret {
			if in.Have = nil; r.st.key != nil {
				if in.Sealed, err = seal(r.st.key, about(r.doc.ID, "before "+it.Address), have); err != nil {
					return err
				}
			}
		}
		for _, c := range it.typ.Contents(it.want, haves[i]) {
			k := kept{Blob: c.Blob, Sealed: secret}
			rec, err := r.keep(c, secret)
			if err != nil {
				k.Lost = r.host.Scrub(err.Error())
			} else if rec != nil {
				k.Sealed = true
				records = append(records, *rec)
			}
			in.Kept = append(in.Kept, k)
		}
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		records = append(records, journal.Record{Kind: journal.Intent, Data: b})
		intents[it.Address] = in
	}
	if len(records) == 0 {
		return nil
	}
	if err := r.log.record(journal.Intent, records...); err != nil {
		return err
	}
	maps.Copy(r.st.intents, intents)
	return nil
}

// keep puts a content aside that is about to be replaced: a secret one into the journal, sealed.
func (r *run) keep(c modules.Content, secret bool) (*journal.Record, error) {
	if err := tooLarge(c, secret); err != nil {
		return nil, err
	}
	f, err := r.host.Open(c.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxKept+1))
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != c.Blob.Hash {
		return nil, fmt.Errorf("%s was changed by somebody else just now", c.Path)
	}
	if secret || shows(r.host, content) {
		if r.st.key == nil {
			return nil, errLocked
		}
		if err := tooLarge(c, true); err != nil {
			return nil, err
		}
		if err := r.makeRoom(c.Blob.Size); err != nil {
			return nil, err
		}
		rec, err := sealBlob(r.st.key, r.doc.ID, c.Blob.Hash, content)
		return &rec, err
	}
	dir := filepath.Join(runDir(r.dir, r.doc.ID), "kept")
	path := filepath.Join(dir, c.Blob.Hash)
	if fi, err := os.Stat(path); err == nil && fi.Size() == c.Blob.Size {
		return nil, nil
	}
	if err := r.makeRoom(c.Blob.Size); err != nil {
		return nil, err
	}
	// The change comes next: what it takes away must be here for good.
	if err := disk.MakeDir(disk.OS, dir, 0o700); err != nil {
		return nil, err
	}
	return nil, disk.Replace(disk.OS, path, content, 0o600)
}

package executor

import (
	"os"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/disk"
	"github.com/fitout-dev/fitout/modules/host"
)

// placed is a content that was given away: it lives on as a file of the device.
type placed struct {
	disk.File
	size  int64
	lease *time.Timer // gives it back, should nobody look at the file; nil: there is none
}

// longestLease is how long somebody may have to wait who wants to write to a file that was put in place just now, and isn't
// observed.
const longestLease = 5 * time.Second

var _ host.Witness = (*contents)(nil)

// Known says what f holds if it is a file that was moved into place after its content was hashed, and a lease has kept all
// others from writing to it since. It is asked once: then the lease is given back. Of any other file nothing is known, and
// it has to be read.
func (c *contents) Known(f *os.File) (host.Blob, bool) {
	fi, err := f.Stat()
	if err != nil {
		return host.Blob{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for hash, p := range c.moved {
		if p.lease == nil || p.size != fi.Size() {
			continue
		}
		if was, err := p.Stat(); err != nil || !os.SameFile(was, fi) {
			continue
		}
		held := leased(p.File)
		p.giveBack()
		return host.Blob{Hash: hash, Size: p.size}, held
	}
	return host.Blob{}, false
}

// giveBack lets others write to the file again.
func (p *placed) giveBack() {
	if p.lease != nil {
		p.lease.Stop()
		p.lease = nil
		giveBack(p.File)
	}
}

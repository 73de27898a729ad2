//go:build linux

package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
)

// volatile serves a disk's image to QEMU over NBD, as a drive with a volatile write cache: what was written since the last
// flush lives in memory. When the connection breaks, which a power cut does, each such sector is on the disk or isn't, as
// chance has it: writes are lost, half done and done in any order, as POSIX and the drives' standards permit. What was
// flushed, or written with FUA, stays.
//
// The protocol: github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md (fixed newstyle, simple replies).
type volatile struct {
	listener net.Listener
	chance   *rand.Rand

	mu    sync.Mutex // held while a machine uses the disk
	image *os.File
	size  int64
	cache map[int64][]byte // sectors by number

	cuts, lost, kept atomic.Int64 // power cuts, and what became of sectors in them
}

const (
	sector   = 512
	cacheMax = 64 << 20 // a drive's cache is finite
)

// newVolatile listens on a socket.
func newVolatile(socket string, seed uint64) (*volatile, error) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	return &volatile{listener: l, chance: rand.New(rand.NewPCG(seed, 3))}, nil
}

// serve makes image the disk that the next connection gets, once the last one is over: see lab.Served.
func (v *volatile) serve(image string) (string, error) {
	v.mu.Lock()
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err == nil {
		var fi os.FileInfo
		if fi, err = f.Stat(); err == nil {
			v.image, v.size, v.cache = f, fi.Size(), map[int64][]byte{}
		}
	}
	if err != nil {
		v.mu.Unlock()
		return "", err
	}
	go func() {
		defer v.mu.Unlock()
		defer f.Close()
		c, err := v.listener.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if v.talk(c) != nil { // nobody said goodbye
			v.cut()
		} else {
			v.flush()
		}
	}()
	return "nbd:unix:" + v.listener.Addr().String(), nil
}

func (v *volatile) close() { v.listener.Close() }

// cut is the power cut.
func (v *volatile) cut() {
	v.cuts.Add(1)
	share := v.chance.Float64() // some lose nearly all, some nearly nothing
	sectors := make([]int64, 0, len(v.cache))
	for n := range v.cache {
		sectors = append(sectors, n)
	}
	slices.Sort(sectors)
	for _, n := range sectors {
		if v.chance.Float64() < share {
			delete(v.cache, n)
			v.lost.Add(1)
		} else {
			v.kept.Add(1)
		}
	}
	v.flush()
}

func (v *volatile) flush() error {
	for n, b := range v.cache {
		if _, err := v.image.WriteAt(b, n*sector); err != nil {
			return err
		}
	}
	clear(v.cache)
	return nil
}

func (v *volatile) read(b []byte, at int64) error {
	if _, err := v.image.ReadAt(b, at); err != nil {
		return err
	}
	for i := int64(0); i < int64(len(b)); i += sector {
		if s := v.cache[(at+i)/sector]; s != nil {
			copy(b[i:], s)
		}
	}
	return nil
}

func (v *volatile) write(b []byte, at int64, through bool) error {
	for i := int64(0); i < int64(len(b)); i += sector {
		n := (at + i) / sector
		if through {
			delete(v.cache, n)
		} else {
			v.cache[n] = slices.Clone(b[i : i+sector])
		}
	}
	if through {
		_, err := v.image.WriteAt(b, at)
		return err
	}
	if len(v.cache)*sector > cacheMax {
		return v.flush()
	}
	return nil
}

// Numbers of the protocol.
const (
	nbdMagic, nbdOption, nbdAnswer         = 0x4e42444d41474943, 0x49484156454f5054, 0x3e889045565a9
	nbdRequest, nbdReply                   = 0x25609513, 0x67446698
	optGo, repAck, repInfo, repUnsupported = 7, 1, 3, 1<<31 + 1
	cmdRead, cmdWrite, cmdEnd, cmdFlush    = 0, 1, 2, 3
	canFlags, canFlush, canFUA             = 1, 4, 8
)

// talk serves one connection. It returns nil where the other side took leave.
func (v *volatile) talk(c net.Conn) error {
	in, out := bufio.NewReaderSize(c, 1<<20), bufio.NewWriterSize(c, 1<<20)
	get := func(values ...any) (err error) {
		for _, x := range values {
			err = errors.Join(err, binary.Read(in, binary.BigEndian, x))
		}
		return err
	}
	put := func(values ...any) {
		for _, x := range values {
			_ = binary.Write(out, binary.BigEndian, x) // Flush tells
		}
	}
	put(uint64(nbdMagic), uint64(nbdOption), uint16(3)) // fixed newstyle, no zeroes
	var flags uint32
	if err := errors.Join(out.Flush(), get(&flags)); err != nil {
		return err
	}
	for begun := false; !begun; {
		var magic uint64
		var option, length uint32
		if err := get(&magic, &option, &length); err != nil {
			return err
		}
		if magic != nbdOption || length > 1<<16 {
			return fmt.Errorf("not an option: %x", magic)
		}
		if _, err := io.CopyN(io.Discard, in, int64(length)); err != nil {
			return err
		}
		if begun = option == optGo; begun {
			put(uint64(nbdAnswer), option, uint32(repInfo), uint32(12), uint16(0), uint64(v.size), uint16(canFlags|canFlush|canFUA))
			put(uint64(nbdAnswer), option, uint32(repAck), uint32(0))
		} else {
			put(uint64(nbdAnswer), option, uint32(repUnsupported), uint32(0))
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	for {
		var magic, length uint32
		var how, what uint16
		var handle, at uint64
		if err := get(&magic, &how, &what, &handle, &at, &length); err != nil {
			return err
		}
		if magic != nbdRequest || length > 64<<20 {
			return fmt.Errorf("not a request: %x", magic)
		}
		var err error
		var answer []byte
		switch what {
		case cmdRead:
			answer = make([]byte, length)
			err = v.read(answer, int64(at))
		case cmdWrite:
			b := make([]byte, length)
			if _, err := io.ReadFull(in, b); err != nil {
				return err
			}
			err = v.write(b, int64(at), how&1 != 0)
		case cmdFlush:
			err = v.flush()
		case cmdEnd:
			return nil
		default:
			err = errors.ErrUnsupported
		}
		failed := uint32(0)
		if err != nil {
			failed, answer = 5, nil // EIO
		}
		put(uint32(nbdReply), failed, handle)
		_, _ = out.Write(answer)
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
}

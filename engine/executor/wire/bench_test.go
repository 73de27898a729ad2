package wire

import (
	"bytes"
	"crypto/rand"
	"io"
	"testing"
)

// BenchmarkSendBlob sends what can't be made smaller, and what can.
func BenchmarkSendBlob(b *testing.B) {
	random := make([]byte, 16<<20)
	rand.Read(random)
	for name, content := range map[string][]byte{"archive": random, "text": bytes.Repeat([]byte("setting = value # with a comment\n"), len(random)/33)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(content)))
			c := NewConn(nil, io.Discard)
			for b.Loop() {
				if err := c.SendBlob(Blob{Size: int64(len(content))}, bytes.NewReader(content)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

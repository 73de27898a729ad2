package winrm

import (
	"bytes"
	"encoding/base64"
	"testing"
)

// What the controller has to do for each byte that a device sends or gets.
func BenchmarkReply(b *testing.B) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 12<<10)
	m := []byte(envelope(`<rsp:Stream Name="stdout">` + base64.StdEncoding.EncodeToString(data) + `</rsp:Stream>`))
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if r, err := parseReply(m); err != nil || len(r.output) != 1 {
			b.Fatal(err)
		}
	}
}

func BenchmarkSend(b *testing.B) {
	data := make([]byte, sendRoom(maxEnvelope))
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if len(requests{"https://10.0.3.43:5986/wsman"}.send("shell", "command", data, false)) > maxEnvelope {
			b.Fatal("too large")
		}
	}
}

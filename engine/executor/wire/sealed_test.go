package wire

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

func sealed(t testing.TB, key []byte, pieces ...[]byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := Seal(&buf, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pieces {
		if n, err := w.Write(p); n != len(p) || err != nil {
			t.Fatalf("%d of %d bytes were written: %v", n, len(p), err)
		}
	}
	return buf.Bytes()
}

func unsealed(t testing.TB, key, b []byte) ([]byte, error) {
	t.Helper()
	r, err := Unseal(iotest.HalfReader(bytes.NewReader(b)), key)
	if err != nil {
		t.Fatal(err)
	}
	return io.ReadAll(r)
}

func TestSealed(t *testing.T) {
	key := make([]byte, KeySize)
	rand.Read(key)
	large := make([]byte, 3*maxRecord+7)
	rand.Read(large)
	b := sealed(t, key, []byte("hello, "), nil, large)
	got, err := unsealed(t, key, b)
	if err != nil || !bytes.Equal(got, append([]byte("hello, "), large...)) {
		t.Fatalf("%d bytes came out: %v", len(got), err)
	}
	if bytes.Contains(b, []byte("hello")) {
		t.Error("it isn't sealed")
	}
	if other := sealed(t, bytes.Repeat([]byte{1}, KeySize), []byte("hello, ")); bytes.Contains(b, other[4:11]) {
		t.Error("the key doesn't matter")
	}
}

// TestSealedByOthers flips every bit, cuts at every byte, and changes the order.
func TestSealedByOthers(t *testing.T) {
	key := make([]byte, KeySize)
	first, second := []byte("the first record"), []byte("the second")
	whole := sealed(t, key, first, second)
	border := len(sealed(t, key, first))
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			got, err := unsealed(t, key, b)
			if err == nil || !bytes.HasPrefix(append(bytes.Clone(first), second...), got) {
				t.Fatalf("bit %d of byte %d: %q, %v", bit, i, got, err)
			}
		}
		got, err := unsealed(t, key, whole[:i])
		if want := i != 0 && i != border; (err != nil) != want || want && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at byte %d: %q, %v", i, got, err)
		}
	}
	swapped := append(bytes.Clone(whole[border:]), whole[:border]...)
	if got, err := unsealed(t, key, swapped); err == nil || len(got) > 0 {
		t.Errorf("records in another order: %q", got)
	}
	if got, err := unsealed(t, bytes.Repeat([]byte{1}, KeySize), whole); err == nil || len(got) > 0 {
		t.Errorf("another key: %q", got)
	}
	if _, err := unsealed(t, key, []byte{0xff, 0xff, 0xff, 0xff, 1}); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a record of 4 GB: %v", err)
	}
}

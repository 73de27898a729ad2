package executor

import (
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// keySize is that of the keys which seal secrets on a device's disk. The controller makes one for each run.
const keySize = chacha20poly1305.KeySize

var errLocked = errors.New("its secrets are sealed, and the controller that holds the key is not here")

// seal encrypts what may lie on a disk only so. What it is about is bound to it: sealed texts can't be exchanged.
func seal(key []byte, about string, plain []byte) ([]byte, error) {
	a, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, a.NonceSize(), a.NonceSize()+len(plain)+a.Overhead())
	rand.Read(nonce)
	return a.Seal(nonce, nonce, plain, []byte(about)), nil
}

func unseal(key []byte, about string, sealed []byte) ([]byte, error) {
	if key == nil {
		return nil, errLocked
	}
	a, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, err
	}
	if len(sealed) < a.NonceSize() {
		return nil, fmt.Errorf("what is sealed for %s is cut", about)
	}
	plain, err := a.Open(nil, sealed[:a.NonceSize()], sealed[a.NonceSize():], []byte(about))
	if err != nil {
		return nil, fmt.Errorf("what is sealed for %s can't be opened with this key", about)
	}
	return plain, nil
}

package lab

import (
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"strings"

	"golang.org/x/crypto/ssh"
)

// recipes are the shell scripts that turn the base into a kind's root.
var recipes = map[Kind]string{}

const layerRecipe = ""

// opensshKey encodes a key as sshd wants it: the private part, and the public part as one line.
func opensshKey(key any) (private, public string, err error) {
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return "", "", err
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return "", "", err
	}
	return string(pem.EncodeToMemory(block)), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))), nil
}

func dropbearKeys(ed25519.PrivateKey) (map[string]string, []string, error) {
	return nil, nil, errors.ErrUnsupported
}

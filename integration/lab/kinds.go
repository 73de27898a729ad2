package lab

import (
	"crypto/ed25519"
	_ "embed"
	"encoding/pem"
	"strings"

	"golang.org/x/crypto/ssh"
)

var (
	//go:embed layer.sh
	layerRecipe string
	//go:embed dropbear.sh
	dropbearRecipe string
	//go:embed qemu.sh
	qemuRecipe string
	//go:embed wine.sh
	wineRecipe string
)

// recipes are the shell scripts that turn a copy of the base into a kind's root, with layerRecipe before them.
var recipes = map[Kind]string{Dropbear: dropbearRecipe, QEMU: qemuRecipe, Wine: wineRecipe}

// opensshKey encodes a key as OpenSSH has it: the private part, and the public part as one line.
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

// dropbearKey encodes a key as dropbear has it, which doesn't read OpenSSH's format.
func dropbearKey(key ed25519.PrivateKey) (private, public string, err error) {
	_, public, err = opensshKey(key)
	blob := ssh.Marshal(struct {
		Type string
		Key  []byte // the seed and the public key
	}{ssh.KeyAlgoED25519, key})
	return string(blob), public, err
}

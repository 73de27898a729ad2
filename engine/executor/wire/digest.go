package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// Digest names what a plan says of a resource, so that a later observation can be told to say the same.
func (o Observation) Digest() string {
	b, _ := json.Marshal(struct{ Op, Changes any }{o.Op, o.Changes})
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:12])
}

package executor

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"unicode/utf8"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
)

const (
	// maxText is how large a file's old content may be to be shown as a diff, maxTexts how large all of them together.
	maxText  = 64 << 10
	maxTexts = 4 << 20
)

// report removes the secrets from what was found.
func (f *found) report(h *host.Host, it *item) wire.Observation {
	o := wire.Observation{Address: it.Address, Op: f.op, Reason: h.Scrub(f.reason)}
	if f.err != nil {
		o.Op, o.Error, o.Hint = "", h.Scrub(f.err.Error()), h.Scrub(remedy(f.err))
		return o
	}
	if f.have != nil {
		o.Changes = it.typ.RedactChanges(f.changes, it.Secret)
		for i, c := range o.Changes {
			o.Changes[i].Before, o.Changes[i].After = scrub(h, c.Before), scrub(h, c.After)
		}
		o.Before = it.typ.Redact(f.have, it.Secret)
		for k, v := range o.Before {
			o.Before[k] = scrub(h, v)
		}
	}
	b, _ := json.Marshal([]any{o.Op, o.Changes})
	sum := sha256.Sum256(b)
	o.Digest = hex.EncodeToString(sum[:12])
	return o
}

// scrub removes secrets from a property, however deep they are in it: they may have come into values that hold none by
// declaration.
func scrub(h *host.Host, v any) any {
	if v == nil || !h.HasSecrets() {
		return v
	}
	if s, ok := v.(string); ok {
		return h.Scrub(s)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return host.Marker
	}
	var plain any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if d.Decode(&plain) != nil {
		return host.Marker
	}
	return scrubPlain(h, plain)
}

func scrubPlain(h *host.Host, v any) any {
	switch x := v.(type) {
	case string:
		return h.Scrub(x)
	case json.Number:
		if s := x.String(); h.Scrub(s) == host.Marker {
			return host.Marker
		}
	case []any:
		for i := range x {
			x[i] = scrubPlain(h, x[i])
		}
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, e := range x {
			out[h.Scrub(k)] = scrubPlain(h, e)
		}
		return out
	}
	return v
}

// oldText is the content that a change replaces, if it is small and text.
func oldText(h *host.Host, it *item, f *found) (text *string, binary bool) {
	if f.op != modules.Update {
		return nil, false
	}
	for _, c := range f.changes {
		fd, ok := it.typ.Field(c.Property)
		old, isBlob := c.Before.(host.Blob)
		if !ok || !isBlob || !fd.IsBlob() || old.Size > maxText || fd.Secret || slices.Contains(it.Secret, fd.Name) {
			continue
		}
		paths := it.typ.Paths(f.have)
		if len(paths) == 0 {
			continue
		}
		b, err := h.ReadFile(paths[0])
		if err != nil || len(b) > maxText {
			continue
		}
		if !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0 {
			return nil, true
		}
		s := h.Scrub(string(b))
		return &s, false
	}
	return nil, false
}

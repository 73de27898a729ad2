package executor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// maxText is how large a file's old content may be to be shown as a diff.
const maxText = 64 << 10

// found is an observation before its secrets are removed.
type found struct {
	have    any
	op      modules.Op
	changes []modules.Change
	reason  string
	err     error
}

// observeAll looks at everything: concurrently, a type at a time where the type can read for all. Types that run
// programs of the profile's come last, and not behind anything that is pending.
func observeAll(ctx context.Context, h *host.Host, items []*item, owed map[string]string) map[string]*found {
	var mu sync.Mutex
	var wg sync.WaitGroup
	results := make(map[string]*found, len(items))
	byType := map[*modules.Type][]*item{}
	var order []*modules.Type
	for _, it := range items {
		switch {
		case it.Skip != "":
			results[it.Address] = &found{op: modules.Skip, reason: it.Skip}
		case it.bad != nil:
			results[it.Address] = &found{err: it.bad}
		default:
			if byType[it.typ] == nil {
				order = append(order, it.typ)
			}
			byType[it.typ] = append(byType[it.typ], it)
		}
	}
	slots := make(chan struct{}, 8)
	for _, t := range order {
		if t.Guarded() {
			continue
		}
		group := byType[t]
		groups := [][]*item{group}
		if !t.ReadsForAll() {
			groups = split(group, 8)
		}
		for _, g := range groups {
			wg.Add(1)
			slots <- struct{}{}
			go func() {
				defer func() { <-slots; wg.Done() }()
				fs := observe(ctx, h, g)
				mu.Lock()
				defer mu.Unlock()
				for i, f := range fs {
					results[g[i].Address] = f
				}
			}()
		}
	}
	wg.Wait()

	// In the profile's order, so that what waits for something unknown is unknown too.
	for _, it := range items {
		f := results[it.Address]
		waits := ""
		for _, a := range it.After {
			if r := results[a]; r != nil && (r.op == modules.Create || r.op == modules.Update || r.op == modules.Delete || r.op == modules.Unknown || r.err != nil) {
				waits = a
				break
			}
		}
		switch {
		case f == nil && waits != "":
			results[it.Address] = &found{op: modules.Unknown, reason: "after " + waits}
		case f == nil:
			f = observe(ctx, h, []*item{it})[0]
			results[it.Address] = f
		case f.err != nil && waits != "":
			results[it.Address] = &found{op: modules.Unknown, reason: "after " + waits}
		}
		if why := owed[it.Address]; why != "" && results[it.Address].op == modules.Same {
			results[it.Address].op = modules.Update
			results[it.Address].changes = []modules.Change{{Property: "notification", After: "owed since " + why}}
		}
	}
	return results
}

func split(items []*item, n int) [][]*item {
	var out [][]*item
	size := (len(items) + n - 1) / n
	for len(items) > 0 {
		k := min(size, len(items))
		out, items = append(out, items[:k]), items[k:]
	}
	return out
}

// observe asks the module; a panic in it is an error of these resources alone.
func observe(ctx context.Context, h *host.Host, items []*item) (out []*found) {
	out = make([]*found, len(items))
	t := items[0].typ
	wants := make([]any, len(items))
	for i, it := range items {
		wants[i] = it.want
	}
	defer func() {
		if p := recover(); p != nil {
			h.Log().Error("panic while observing", "type", t.Name, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			for i := range out {
				out[i] = &found{err: fmt.Errorf("observing panicked: %v", p)}
			}
		}
	}()
	ctx, cancel := withTimeout(ctx, items[0])
	defer cancel()
	observed := t.Observe(ctx, h, wants)
	if len(observed) != len(items) {
		observed = make([]modules.Observation[any], len(items))
		for i := range observed {
			observed[i].Err = fmt.Errorf("type %s observed the wrong number of resources", t.Name)
		}
	}
	for i, o := range observed {
		f := &found{have: o.Have}
		switch {
		case errors.Is(o.Err, host.ErrNeedsSystem):
			f.op, f.reason = modules.Skip, host.ErrNeedsSystem.Error()
		case o.Err != nil:
			f.err = o.Err
		default:
			f.op, f.changes = t.Diff(wants[i], o.Have, h.Living())
		}
		out[i] = f
	}
	return out
}

// report removes the secrets from what was found.
func (f *found) report(h *host.Host, it *item) wire.Observation {
	o := wire.Observation{Address: it.Address, Op: f.op, Reason: f.reason}
	if f.err != nil {
		o.Error, o.Hint = h.Scrub(f.err.Error()), h.Scrub(hint.Of(f.err))
		return o
	}
	if f.have != nil {
		o.Changes = scrubChanges(h, it.typ.RedactChanges(f.changes, it.Secret))
		o.Before = scrubMap(h, it.typ.Redact(f.have, it.Secret))
	}
	b, _ := json.Marshal([]any{o.Op, o.Changes})
	sum := sha256.Sum256(b)
	o.Digest = hex.EncodeToString(sum[:12])
	if f.op == modules.Update || f.op == modules.Delete {
		o.Text, o.Binary = oldText(h, it, f)
	}
	return o
}

// oldText is the content that a change replaces, if it is small and text.
func oldText(h *host.Host, it *item, f *found) (text *string, binary bool) {
	for _, c := range f.changes {
		fd, ok := it.typ.Field(c.Property)
		old, isBlob := c.Before.(host.Blob)
		if !ok || !isBlob || !fd.IsBlob() || old.Size > maxText || fd.Secret || contains(it.Secret, fd.Name) {
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
		if !utf8.Valid(b) || strings.ContainsRune(string(b), 0) {
			return nil, true
		}
		s := h.Scrub(string(b))
		return &s, false
	}
	return nil, false
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// Secrets may have come into values that don't hold one by declaration; whatever leaves the device is scrubbed.
func scrubMap(h *host.Host, m map[string]any) map[string]any {
	for k, v := range m {
		m[k] = scrubValue(h, v)
	}
	return m
}

func scrubChanges(h *host.Host, cs []modules.Change) []modules.Change {
	for i := range cs {
		cs[i].Before, cs[i].After = scrubValue(h, cs[i].Before), scrubValue(h, cs[i].After)
	}
	return cs
}

func scrubValue(h *host.Host, v any) any {
	switch x := v.(type) {
	case string:
		return h.Scrub(x)
	case []string:
		out := make([]string, len(x))
		for i, s := range x {
			out[i] = h.Scrub(s)
		}
		return out
	case map[string]string:
		out := make(map[string]string, len(x))
		for k, s := range x {
			out[k] = h.Scrub(s)
		}
		return out
	}
	return v
}

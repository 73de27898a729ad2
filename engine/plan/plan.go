// Package plan is what will be done: a plan for each device, its file, and how it is shown.
//
//	d := plan.Make("lt-042", compiled, observed)
//	plan.Render(os.Stdout, p, plan.Style{})
//	err := plan.Save("plan.json", p)
//
// A plan holds no secret: where one is, only a marker stands, and applying the plan resolves the reference again.
package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aymanbagabas/go-udiff"
	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/engine/profile"
	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

// Format is the version of plan files.
const Format = 1

// Plan is what a run would do to a fleet.
type Plan struct {
	Format    int       `json:"format"`
	Created   time.Time `json:"created"`
	Inventory string    `json:"inventory,omitempty"` // absolute path; "" for one-off devices
	Profile   string    `json:"profile,omitempty"`   // given on the command line; "" where the inventory says
	OneOff    []string  `json:"oneOff,omitempty"`    // devices given by --device
	Only      []string  `json:"only,omitempty"`
	Skip      []string  `json:"skip,omitempty"`
	Reboot    string    `json:"reboot,omitempty"` // the policy given on the command line; "" where the profiles say
	Devices   []Device  `json:"devices"`
}

// Device is the plan for one device.
type Device struct {
	Name      string     `json:"name"`
	Address   string     `json:"address,omitempty"`
	Profile   string     `json:"profile,omitempty"`
	Resources []Resource `json:"resources,omitempty"`
	Reboot    string     `json:"reboot,omitempty"` // why a reboot is pending already
	// Settings are how the run will be carried out; who makes a plan sets them.
	Settings wire.Settings `json:"settings,omitzero"`
	// Findings are what speaks against a run on the device as it is now.
	Findings []wire.Finding `json:"findings,omitempty"`
	// Error is why there is no plan: the device can't be reached, or its profile has errors.
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
}

// Resource is what will be done to one resource.
type Resource struct {
	Address  string           `json:"address"`
	Position string           `json:"position"` // file:line:col of its declaration
	Op       modules.Op       `json:"op"`
	Changes  []modules.Change `json:"changes,omitempty"`
	Reason   string           `json:"reason,omitempty"`
	Error    string           `json:"error,omitempty"`
	Hint     string           `json:"hint,omitempty"`
	Diff     string           `json:"diff,omitempty"` // of a text file's content
	Digest   string           `json:"digest,omitempty"`
	NoUndo   string           `json:"noUndo,omitempty"`  // why nothing could take the change back, or ""
	Notes    []string         `json:"notes,omitempty"`   // what doesn't exist on the device's platform, or is experimental there
	Reboot   string           `json:"reboot,omitempty"`  // its own policy of rebooting, or ""
	Connect  map[string]any   `json:"connect,omitempty"` // how the device is reached afterwards, a password left out
	Shape    string           `json:"shape"`             // stands for the declaration, secrets left out
}

// Counts sums a device's plan up by operation; what couldn't be observed counts as errors.
type Counts struct{ Create, Update, Delete, Same, Skip, Unknown, Errors int }

// Pending is how much is left to do.
func (c Counts) Pending() int { return c.Create + c.Update + c.Delete + c.Unknown }

// Count sums the plan up.
func (d *Device) Count() Counts {
	var c Counts
	for _, r := range d.Resources {
		switch {
		case r.Error != "":
			c.Errors++
		case r.Op == modules.Create:
			c.Create++
		case r.Op == modules.Update:
			c.Update++
		case r.Op == modules.Delete:
			c.Delete++
		case r.Op == modules.Same:
			c.Same++
		case r.Op == modules.Skip:
			c.Skip++
		case r.Op == modules.Unknown:
			c.Unknown++
		}
	}
	return c
}

// Add sums two counts.
func (c Counts) Add(o Counts) Counts {
	return Counts{c.Create + o.Create, c.Update + o.Update, c.Delete + o.Delete, c.Same + o.Same, c.Skip + o.Skip, c.Unknown + o.Unknown, c.Errors + o.Errors}
}

// Make joins what is wanted with what was found.
func Make(name, address string, resources []profile.Resource, blobs map[string]profile.Content, observed *wire.Observed) Device {
	d := Device{Name: name, Address: address, Reboot: observed.Reboot, Findings: observed.Findings}
	for i, o := range observed.Observations {
		r := Resource{Address: o.Address, Op: o.Op, Changes: o.Changes, Reason: o.Reason, Error: o.Error, Hint: o.Hint, Digest: o.Digest, NoUndo: o.NoUndo, Notes: o.Notes}
		if i < len(resources) {
			r.Position, r.Shape = resources[i].Position.String(), Shape(resources[i])
			r.Diff = contentDiff(resources[i], blobs, o)
			r.Reboot, r.Connect = resources[i].Reboot, withoutSecrets(resources[i].Connect)
		}
		d.Resources = append(d.Resources, r)
	}
	d.announce(resources)
	return d
}

// withoutSecrets is how a device is reached, a marker in the place of a password.
func withoutSecrets(connect map[string]any) map[string]any {
	out := maps.Clone(connect)
	for k, v := range out {
		if _, hidden := v.(secret.Value); hidden {
			out[k] = host.Marker
		}
	}
	return out
}

// Refused is why nothing may be changed on the device as it is now, nil where nothing speaks against it.
func (d *Device) Refused() error {
	var all []wire.Finding
	for _, f := range d.Findings {
		if f.Fatal {
			all = append(all, f)
		}
	}
	switch {
	case len(all) == 0:
		return nil
	case len(all) == 1 && all[0].Remedy != "":
		return hint.New(errors.New(all[0].Text), "%s", all[0].Remedy)
	}
	lines := make([]string, len(all))
	for i, f := range all {
		if lines[i] = f.Text; f.Remedy != "" {
			lines[i] += "\n  hint: " + f.Remedy
		}
	}
	return errors.New(strings.Join(lines, "\n"))
}

// pending says whether something will be done to the resource, as far as is known.
func (r *Resource) pending() bool {
	return r.Error == "" && slices.Contains([]modules.Op{modules.Create, modules.Update, modules.Delete, modules.Unknown}, r.Op)
}

// announce shows what will be notified: that something else changes is reason enough to touch it.
func (d *Device) announce(resources []profile.Resource) {
	from := map[string][]string{}
	for i, r := range d.Resources {
		if r.pending() && i < len(resources) {
			for _, to := range resources[i].Notify {
				from[to] = append(from[to], r.Address)
			}
		}
	}
	for i := range d.Resources {
		r := &d.Resources[i]
		if len(from[r.Address]) == 0 || r.Error != "" || r.Op != modules.Same && r.Op != modules.Update && r.Op != modules.Create {
			continue
		}
		if r.Op == modules.Same {
			r.Op = modules.Update
		}
		r.Changes = append(r.Changes, modules.Change{Property: Notification, After: "from " + strings.Join(from[r.Address], ", ")})
	}
}

// Notification is the property by which a plan and an event show that a resource is told of another's change.
const Notification = "notification"

// Shape stands for a declaration: two with the same shape differ in secrets at most.
func Shape(r profile.Resource) string {
	want := make(map[string]any, len(r.Want))
	for k, v := range r.Want {
		if _, isBlob := v.(host.Blob); isBlob && slices.Contains(r.Secret, k) {
			v = host.Marker // the hash of a secret is as good as the secret, for one who guesses
		}
		want[k] = v
	}
	b, _ := json.Marshal([]any{r.Address, want, r.After, r.Notify, r.Timeout, r.Retries, r.Skip, r.Reboot, withoutSecrets(r.Connect)})
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:12])
}

// Bounds of what is shown of a file.
const (
	maxDiffBytes = 64 << 10
	maxDiffLines = 120
)

// contentDiff is the unified diff of a text file, or what else there is to say of its content.
func contentDiff(r profile.Resource, blobs map[string]profile.Content, o wire.Observation) string {
	for _, c := range o.Changes {
		b, ok := r.Want[c.Property].(host.Blob)
		if !ok {
			continue
		}
		if slices.Contains(r.Secret, c.Property) {
			return ""
		}
		was := "nothing"
		if old, ok := c.Before.(map[string]any); ok {
			was = size(old["size"])
		}
		becomes := size(b.Size)
		if o.Binary || b.Size > maxDiffBytes || (o.Text == nil && c.Before != nil) {
			return fmt.Sprintf("binary or large: %s -> %s\n", was, becomes)
		}
		next, err := read(blobs[b.Hash])
		if err != nil {
			return ""
		}
		if !utf8.ValidString(next) || slices.Contains([]byte(next), 0) {
			return fmt.Sprintf("binary: %s -> %s\n", was, becomes)
		}
		from, to, old := "now", "wanted", ""
		if o.Text != nil {
			old = *o.Text
		} else {
			from = "nothing"
		}
		return bounded(udiff.Unified(from, to, old, next))
	}
	return ""
}

func size(v any) string {
	switch n := v.(type) {
	case float64:
		return fmt.Sprintf("%d bytes", int64(n))
	default:
		return fmt.Sprintf("%v bytes", n)
	}
}

func read(c profile.Content) (string, error) {
	if c.Open == nil || c.Secret {
		return "", io.ErrUnexpectedEOF
	}
	f, err := c.Open()
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxDiffBytes+1))
	return string(b), err
}

func bounded(diff string) string {
	n := 0
	for i, c := range diff {
		if c == '\n' {
			if n++; n == maxDiffLines {
				rest := 0
				for _, c := range diff[i+1:] {
					if c == '\n' {
						rest++
					}
				}
				if rest == 0 {
					return diff
				}
				return fmt.Sprintf("%s\n(%d more lines)\n", diff[:i], rest)
			}
		}
	}
	return diff
}

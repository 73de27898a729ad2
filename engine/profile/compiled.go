package profile

import (
	"fmt"
	"io"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
)

// Position is a place in a profile or inventory.
type Position struct {
	File      string
	Line, Col int
}

func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// Resource is one declaration, complete for one device: every expression evaluated, every reference resolved.
type Resource struct {
	Address  string
	Type     string
	Position Position
	// Want holds the declared properties as JSON values (string, bool, int64, float64, []any, map[string]any), a
	// secret.Value wherever a value holds a secret, and a host.Blob for a content.
	Want map[string]any
	// Secret names the properties that hold a secret anywhere inside.
	Secret []string
	// After are the addresses that must be in their state first: declared, implied and inherited, sorted, all of them
	// in this profile. Notify are those that are told when this resource changes.
	After, Notify []string
	Timeout       time.Duration // 0: none of its own
	Retries       int
	// Reboot is its own policy of rebooting, "" the run's.
	Reboot string
	// Connect says how the device is reached once this is applied: address, port (int64), user, password (a secret.Value)
	// and identityFile, those that change; nil where nothing does.
	Connect map[string]any
	// Skip is why this resource is not for this device ("windows only", "when: device.os == \"linux\""), or "".
	Skip string
}

// Compiled is a profile for one device.
type Compiled struct {
	Profile   string     // its name
	Files     []string   // all files that it was made from
	Resources []Resource // in the order in which they are applied; skipped ones too
	Blobs     map[string]Content
	Settings  wire.Settings // how a run is carried out; zero values are the defaults
	// Secrets are the texts of all secrets that went into it, for scrubbing.
	Secrets []string
}

// RebootPolicy puts one policy of rebooting in the place of the profile's and of each resource's own.
func (c *Compiled) RebootPolicy(policy string) {
	c.Settings.Reboot = policy
	for i := range c.Resources {
		c.Resources[i].Reboot = ""
	}
}

// Content is where a blob's bytes come from. A secret one must not be kept on a device or in a plan.
type Content struct {
	Size   int64
	Secret bool
	Open   func() (io.ReadCloser, error)
}

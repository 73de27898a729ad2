// Package wire is what the controller and the executor say to each other, and how it is framed.
//
//	c := wire.NewConn(stdout, stdin)
//	err := c.Send(wire.Message{Observe: &wire.Observe{Resources: rs}})
//	m, err := c.Receive()
//
// A stream begins with Magic; everything before it is junk (a login banner, an echo in .bashrc) and is skipped. Then come
// frames: a byte of kind, a byte of flags, four bytes of length (big endian), the payload. A payload is one Message in
// JSON, or a piece of a blob; it is compressed with zstd where that makes it smaller. The formats of run documents,
// events and the lock are kept stable across versions: fields are added, never changed in meaning.
package wire

import (
	"encoding/json"
	"time"

	"github.com/fitout-dev/fitout/modules"
)

// Version is the protocol's. Executors are pushed by content, so both sides speak the same; it guards the rest.
const Version = 1

// Message is one thing said: exactly one of the fields is set.
type Message struct {
	// executor to controller
	Hello    *Hello    `json:"hello,omitempty"`
	Observed *Observed `json:"observed,omitempty"`
	Event    *Event    `json:"event,omitempty"`
	Failed   *Failed   `json:"failed,omitempty"`
	Undoing  *Undoing  `json:"undoing,omitempty"`
	Pulled   *Pulled   `json:"pulled,omitempty"`
	Alive    bool      `json:"alive,omitempty"` // sent every few seconds while the executor works

	// controller to executor
	Observe *Observe  `json:"observe,omitempty"`
	Blob    *Blob     `json:"blob,omitempty"` // its bytes follow in blob frames
	Run     *Document `json:"run,omitempty"`
	Attach  *Attach   `json:"attach,omitempty"`
	Cancel  *Cancel   `json:"cancel,omitempty"`
	Confirm *Confirm  `json:"confirm,omitempty"`
	Undo    *Undo     `json:"undo,omitempty"`
	Pull    *Pull     `json:"pull,omitempty"`
}

// Hello is the executor's first message, sent unasked.
type Hello struct {
	Version int            `json:"version"`
	OS      string         `json:"os"`
	Arch    string         `json:"arch"`
	Root    string         `json:"root"`
	Facts   map[string]any `json:"facts"`
	// Holder is whose run is under way on the device, or was when it stopped half-way: then Stopped is true.
	Holder  *Holder `json:"holder,omitempty"`
	Stopped bool    `json:"stopped,omitempty"`
	Boot    string  `json:"boot,omitempty"` // names this start of the machine
	// Memory names what the device remembers of its runs: another name, or none, means that what it knew is lost.
	Memory string `json:"memory,omitempty"`
}

// Holder is who runs something on the device.
type Holder struct {
	Run   string    `json:"run"`
	Who   string    `json:"who"`  // user
	From  string    `json:"from"` // controller's host name
	Since time.Time `json:"since"`
	PID   int       `json:"pid"`
	Boot  string    `json:"boot"`
}

// Resource is one declaration, complete for this device. Want is revealed: it holds the secrets themselves.
type Resource struct {
	Address string          `json:"address"`
	Type    string          `json:"type"`
	Want    json.RawMessage `json:"want"`
	Secret  []string        `json:"secret,omitempty"` // properties that hold one
	After   []string        `json:"after,omitempty"`
	Notify  []string        `json:"notify,omitempty"`
	Timeout time.Duration   `json:"timeout,omitempty"`
	Retries int             `json:"retries,omitempty"`
	Skip    string          `json:"skip,omitempty"` // why it is not for this device
	// Reboot is this resource's own policy, "" the run's.
	Reboot string `json:"reboot,omitempty"`
	// Connect says how the device is reached once this is applied: the run goes on when the controller has confirmed that,
	// and takes the change back when it doesn't.
	Connect map[string]any `json:"connect,omitempty"`
	// Sealed is Want where it holds a secret and lies on a disk.
	Sealed []byte `json:"sealed,omitempty"`
}

// Policies of rebooting.
const (
	RebootNever    = "never"
	RebootIfNeeded = "ifNeeded"
)

// Settings are how a run is carried out, as the profile's "run" says. Zero values are the defaults, in brackets.
type Settings struct {
	Reboot        string        `json:"reboot,omitempty"`        // never or ifNeeded (never)
	RebootWindow  string        `json:"rebootWindow,omitempty"`  // "22:00-06:00", the device's local time (any time)
	RebootDelay   time.Duration `json:"rebootDelay,omitempty"`   // between the warning and the reboot, where somebody is logged on (1m)
	MaxReboots    int           `json:"maxReboots,omitempty"`    // (5)
	Unattended    bool          `json:"unattended,omitempty"`    // secrets are kept by a key on the device, until the run's end
	AfterPowerCut string        `json:"afterPowerCut,omitempty"` // continue or wait (continue)
	MinBattery    int           `json:"minBattery,omitempty"`    // percent, where no mains is there (20)
	MinDisk       int64         `json:"minDisk,omitempty"`       // bytes beyond what will be written (200 MB)
	WaitFor       time.Duration `json:"waitFor,omitempty"`       // a busy package manager (10m)
	ConfirmWithin time.Duration `json:"confirmWithin,omitempty"` // a change of the connection (2m)
}

// Observe asks what is on the device. Nothing is changed.
type Observe struct {
	Resources []Resource `json:"resources"`
	Settings  Settings   `json:"settings,omitzero"`
	Now       time.Time  `json:"now,omitzero"`      // the controller's clock
	Secrets   []string   `json:"secrets,omitempty"` // to be scrubbed from all that is said
	// Owed are notifications of earlier runs that may not have been delivered, and that the device has forgotten: by whom
	// is notified, from whom.
	Owed map[string][]string `json:"owed,omitempty"`
}

// Observation is one resource as it was found, secrets removed.
type Observation struct {
	Address string           `json:"address"`
	Op      modules.Op       `json:"op"`
	Changes []modules.Change `json:"changes,omitempty"`
	Before  map[string]any   `json:"before,omitempty"`
	Reason  string           `json:"reason,omitempty"` // of skip and unknown
	Error   string           `json:"error,omitempty"`
	Hint    string           `json:"hint,omitempty"`
	// Text is the old content of a small text file whose content will change; Binary says that there is one, but no text.
	Text   *string `json:"text,omitempty"`
	Binary bool    `json:"binary,omitempty"`
	// Digest stands for operation and changes, unredacted values left out.
	Digest string `json:"digest,omitempty"`
	// Notes say what of the declaration doesn't exist on the device's platform, and what is experimental there.
	Notes []string `json:"notes,omitempty"`
	// NoUndo is why nothing could take the change back, or "".
	NoUndo string `json:"noUndo,omitempty"`
}

// Finding is something about the device that speaks against a run, found before anything changes.
type Finding struct {
	Check  string `json:"check"`           // battery, disk, clock, ...
	Fatal  bool   `json:"fatal,omitempty"` // the run is refused; else it is a warning
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
}

// Observed answers Observe.
type Observed struct {
	Observations []Observation `json:"observations"`
	Missing      []string      `json:"missing,omitempty"` // blobs that must come before the run
	Reboot       string        `json:"reboot,omitempty"`  // why a reboot is pending already
	Findings     []Finding     `json:"findings,omitempty"`
}

// Blob announces a content of Size bytes. A secret one is kept in memory only.
type Blob struct {
	Hash   string `json:"hash"`
	Size   int64  `json:"size"`
	Secret bool   `json:"secret,omitempty"`
}

// Pull has the executor fetch a blob from the controller, past the session: by HTTP, GET /Token from Address. What it gets is
// sealed with Key (see Seal), and in it a stream as this package's: the blob is announced, and its bytes follow.
type Pull struct {
	Blob    Blob   `json:"blob"`
	Address string `json:"address"` // an IP address and a port
	Token   string `json:"token"`
	Key     []byte `json:"key"`
}

// Pulled answers Pull: the device has the blob, or Error says why not. It has to be sent then.
type Pulled struct {
	Hash  string `json:"hash"`
	Error string `json:"error,omitempty"`
}

// Document is a run: complete and immutable. The executor needs nothing else to carry it out.
type Document struct {
	ID        string     `json:"id"`
	Key       []byte     `json:"key,omitempty"` // seals what is secret in the journal, and is in no journal itself
	Settings  Settings   `json:"settings,omitzero"`
	Holder    Holder     `json:"holder"`
	Resources []Resource `json:"resources"`
	Secrets   []string   `json:"secrets,omitempty"`
	// Expect is what the plan showed for each address that will be touched: the observation's digest. What is found otherwise
	// before the first change is drift, and the run is refused.
	Expect map[string]string `json:"expect,omitempty"`
	// Owed are those of Observe, and what the device itself remembered then.
	Owed map[string][]string `json:"owed,omitempty"`
	// Memory is the name that what the device remembers gets where it has none.
	Memory string `json:"memory,omitempty"`
}

// Cancel ends a run after the current resource, or at once.
type Cancel struct {
	Now bool `json:"now,omitempty"`
}

// Attach asks for a run's events from number From on: of one that is under way, that has ended, or that stopped half-way.
type Attach struct {
	Run  string `json:"run"`
	From int    `json:"from"`
	Key  []byte `json:"key,omitempty"`
	// Resume has a run that stopped half-way go on, Close ends it where it is.
	Resume bool `json:"resume,omitempty"`
	Close  bool `json:"close,omitempty"`
}

// Confirm says that the device was reached in the new way that event N announced.
type Confirm struct {
	Run string `json:"run"`
	N   int    `json:"n"`
}

// Undo asks for the way back from a run.
type Undo struct {
	Run  string   `json:"run"`
	Key  []byte   `json:"key,omitempty"`
	Only []string `json:"only,omitempty"` // addresses or types; none is all
}

// Undoing answers Undo: what to apply, in order, and what can't be.
type Undoing struct {
	Resources []Resource    `json:"resources"`
	Drifted   []Observation `json:"drifted,omitempty"` // changed since by others
	Stuck     []Stuck       `json:"stuck,omitempty"`
	Secrets   []string      `json:"secrets,omitempty"` // to be scrubbed from all that is said
}

// Stuck is a change that nothing can take back.
type Stuck struct {
	Address string `json:"address"`
	Reason  string `json:"reason"`
}

// Kinds of events.
const (
	Started  = "started"
	Begin    = "begin" // of one resource
	Resolved = "resource"
	Notified = "notified"
	Log      = "log"
	Finished = "finished"

	Rebooting  = "rebooting"  // the machine goes down now; the run goes on when it is up again
	Rebooted   = "rebooted"   // it is
	Waiting    = "waiting"    // for the controller, a window, another program: Text says
	Confirming = "confirming" // the device is to be reached as Connect says, or the change is taken back
)

// Status is what became of one resource.
type Status string

const (
	InDesiredState Status = "same"
	Changed        Status = "changed"
	FailedStatus   Status = "failed"
	Skipped        Status = "skipped"
	NotTried       Status = "cancelled"
)

// Event is something that happened in a run. They are numbered from 1; a gap is left where the machine was restarted.
type Event struct {
	N       int              `json:"n"`
	Time    time.Time        `json:"time"`
	Type    string           `json:"type"`
	Address string           `json:"address,omitempty"`
	Status  Status           `json:"status,omitempty"`
	Op      modules.Op       `json:"op,omitempty"`
	Changes []modules.Change `json:"changes,omitempty"`
	Before  map[string]any   `json:"before,omitempty"`
	After   map[string]any   `json:"after,omitempty"`
	Reason  string           `json:"reason,omitempty"`
	Error   string           `json:"error,omitempty"`
	Hint    string           `json:"hint,omitempty"`
	Seconds float64          `json:"seconds,omitempty"`
	Reboot  string           `json:"reboot,omitempty"`
	Level   string           `json:"level,omitempty"` // of a log event
	Text    string           `json:"text,omitempty"`
	Counts  *Counts          `json:"counts,omitempty"`  // with finished
	Refused *Failed          `json:"refused,omitempty"` // with finished: why nothing was begun
	Connect map[string]any   `json:"connect,omitempty"` // with confirming
	Boot    string           `json:"boot,omitempty"`    // names the start of the machine since which the run is at work
}

// Counts sums up a run.
type Counts struct {
	Changed   int `json:"changed"`
	Unchanged int `json:"unchanged"`
	Failed    int `json:"failed"`
	Skipped   int `json:"skipped"`
	Cancelled int `json:"cancelled,omitempty"`
}

// Failed ends a request that couldn't be served at all.
type Failed struct {
	Kind  string `json:"kind,omitempty"` // locked, drift
	Error string `json:"error"`
	Hint  string `json:"hint,omitempty"`
	// Drift lists what was found otherwise than planned.
	Drift  []Observation `json:"drift,omitempty"`
	Holder *Holder       `json:"holder,omitempty"`
}

// Kinds of Failed.
const (
	Locked  = "locked"
	Drift   = "drift"
	Stopped = "stopped" // the run isn't under way and isn't at its end
	NoRun   = "noRun"   // the device knows nothing of such a run
)

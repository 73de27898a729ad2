// Package host is all that a resource type may touch on a device: files, commands, names of users and groups, blobs.
//
//	h := host.New("/")                          // the running system
//	h := host.New("/mnt/image")                 // a mounted image, a test's folder, the demo's device
//	b, err := h.ReadFile("/etc/hostname")       // paths are the device's own
//	res, err := h.Run(ctx, host.Cmd{Args: []string{"/usr/sbin/sysctl", "-n", "kernel.ostype"}})
//
// A Host whose root isn't "/" resolves links inside that root, knows that root's own users and groups, and runs no
// commands: what needs a living system returns ErrNeedsSystem. It promises that files are replaced atomically and synced,
// and that output of commands, errors and logs hold none of the secrets it was told of. It is safe for concurrent use.
package host

import (
	"errors"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
)

// ErrNeedsSystem is returned by what can't be observed or changed in a root that isn't the running system's. It shows as
// "skip (needs a running system)".
var ErrNeedsSystem = errors.New("needs a running system")

// Marker stands wherever a secret would have been printed.
const Marker = "(secret)"

// Host is one device, seen from a root folder.
type Host struct {
	root    string
	runner  Runner
	blobs   Blobs
	log     *slog.Logger
	secrets *strings.Replacer
	steps   steps
	loose   atomic.Bool // something was changed that no one has synced: see Settle
	busy    atomic.Bool // the disk kept Settle waiting for too long

	mu      sync.Mutex
	memo    map[string]*memo
	lasting map[string]any
}

// Option configures New.
type Option func(*Host)

// WithRunner replaces how commands are run; tests replay recorded outputs with it.
func WithRunner(r Runner) Option { return func(h *Host) { h.runner = r } }

// WithBlobs says where file contents come from.
func WithBlobs(b Blobs) Option { return func(h *Host) { h.blobs = b } }

// WithLog sends what modules log to l.
func WithLog(l *slog.Logger) Option { return func(h *Host) { h.log = l } }

// WithSecrets tells the host which texts may never leave it, in any of the forms that Scrub knows.
func WithSecrets(texts []string) Option {
	return func(h *Host) { h.secrets = scrubber(texts) }
}

// New returns the device below root. "" and "/" are the running system.
func New(root string, options ...Option) *Host {
	if root != "" {
		root = filepath.Clean(root)
	}
	if root == "" || root == string(filepath.Separator) { // Windows has several roots; "/" stands for all of them
		root = "/"
	}
	h := &Host{root: root, runner: system{}, log: slog.New(slog.DiscardHandler), memo: map[string]*memo{}}
	for _, o := range options {
		o(h)
	}
	return h
}

// Living says whether this is the running system.
func (h *Host) Living() bool { return h.root == "/" }

// Root is the folder that the device's "/" is.
func (h *Host) Root() string { return h.root }

// OS is linux, windows or darwin.
func (h *Host) OS() string { return runtime.GOOS }

// Log is for what a technician may want to see with --verbose. Secrets are removed on the way out.
func (h *Host) Log() *slog.Logger { return h.log }

type memo struct {
	once  sync.Once
	value any
	err   error
}

// Memo reads something once for all resources that are observed together: the package database, /etc/passwd. What was
// read is forgotten by Forget, which the executor calls whenever something was applied.
func Memo[V any](h *Host, key string, read func() (V, error)) (V, error) {
	h.mu.Lock()
	m := h.memo[key]
	if m == nil {
		m = &memo{}
		h.memo[key] = m
	}
	h.mu.Unlock()
	m.once.Do(func() {
		m.err = errors.New("reading " + key + " panicked") // stands only if read does not return
		m.value, m.err = read()
	})
	v, _ := m.value.(V)
	return v, m.err
}

// Lasting keeps a value of the resource types' own as long as h itself, which is one plan or one run: Forget leaves it. It
// is for what isn't read from the device, such as what a profile declares.
func Lasting[V any](h *Host, key string, first func() V) V {
	h.mu.Lock()
	defer h.mu.Unlock()
	v, ok := h.lasting[key].(V)
	if !ok {
		v = first()
		if h.lasting == nil {
			h.lasting = map[string]any{}
		}
		h.lasting[key] = v
	}
	return v
}

// Forget drops all that Memo holds.
func (h *Host) Forget() {
	h.mu.Lock()
	h.memo = map[string]*memo{}
	h.mu.Unlock()
}

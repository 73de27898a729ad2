package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/journal"
	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
)

// declared is the journal's first record: the run document, its secrets sealed, and what is needed to go on with it.
type declared struct {
	Document wire.Document `json:"document"`
	Secrets  []byte        `json:"secrets,omitempty"` // the list of texts to scrub, sealed
	Executor string        `json:"executor,omitempty"`
	Root     string        `json:"root"`
	Boot     string        `json:"boot"`
	Login    *login        `json:"login,omitempty"` // who began it
	// Fresh are contents that the session had hashed, and the times of their files then: they aren't hashed again at once.
	Fresh map[string]time.Time `json:"fresh,omitempty"`
}

// intent is recorded before a resource is changed: what undoes it, should anybody ask.
type intent struct {
	Address string          `json:"address"`
	Event   wire.Event      `json:"event"` // what will be reported: operation, changes, before
	Have    json.RawMessage `json:"have,omitempty"`
	Sealed  []byte          `json:"sealed,omitempty"` // Have, where it may hold a secret
	Kept    []kept          `json:"kept,omitempty"`
}

// kept is a content from before that the device's store keeps for undo.
type kept struct {
	host.Blob
	Sealed bool   `json:"sealed,omitempty"` // it lies in the journal, sealed
	Lost   string `json:"lost,omitempty"`   // why it was not kept
}

// secretBlob is a content that is a secret: of the run document, or from before a change.
type secretBlob struct {
	Sealed []byte `json:"sealed"` // host.Blob's hash (64 bytes in hex), then the content
}

// restart is recorded when resources want the machine restarted, and again (Now) before it goes down for them.
type restart struct {
	Reason    string   `json:"reason"`
	Addresses []string `json:"addresses"`
	Boot      string   `json:"boot"`
	Changed   int      `json:"changed"` // how many resources the run had changed
	Now       bool     `json:"now,omitempty"`
	Unproven  string   `json:"unproven,omitempty"` // why nothing can prove that the resource was applied, not after a restart either
}

// state is a run as its journal tells it.
type state struct {
	declared
	key      []byte
	events   []wire.Event
	settled  map[string]wire.Event // by address: it isn't tried again
	notified map[string]string     // by address, from what: it isn't notified again, and may not be settled yet
	intents  map[string]*intent
	restarts []restart
	blobs    []secretBlob
	ended    bool
}

func runDir(dir, id string) string { return filepath.Join(dir, "runs", id) }

func journalFile(dir, id string) string { return filepath.Join(runDir(dir, id), "journal") }

// holdsSecret says whether something of a resource may not lie on a disk as it is.
func (it *item) holdsSecret() bool {
	if len(it.Secret) > 0 || len(it.Sealed) > 0 {
		return true
	}
	if it.bad != nil {
		return false
	}
	return slices.ContainsFunc(it.typ.Fields, func(f modules.Field) bool { return f.Secret && it.typ.Value(it.want, f) != nil })
}

// shows says whether a text holds a secret of the run, however it came there.
func shows(h *host.Host, b []byte) bool { return h.HasSecrets() && h.Scrub(string(b)) != string(b) }

// observesSecret says the same of what was found on the device.
func (it *item) observesSecret() bool {
	return len(it.Secret) > 0 || slices.ContainsFunc(it.typ.Fields, func(f modules.Field) bool { return f.Secret })
}

// about names what is sealed, so that it can't be taken for anything else.
func about(run, what string) string { return "fitout run " + run + ": " + what }

// declare makes the records that a run's journal begins with.
func declare(doc *wire.Document, o Options, executor string, store *contents) ([]journal.Record, error) {
	d := declared{Document: *doc, Executor: executor, Root: o.Root, Boot: bootID(), Login: o.login, Fresh: store.came()}
	d.Document.Key, d.Document.Secrets = nil, nil
	d.Document.Resources = append([]wire.Resource(nil), doc.Resources...)
	h := host.New(o.Root, host.WithSecrets(doc.Secrets))
	for i, it := range decode(doc.Resources) {
		r := &d.Document.Resources[i]
		if r.Connect["password"] != nil || it.holdsSecret() || shows(h, r.Want) {
			plain, err := json.Marshal([]any{r.Want, r.Connect})
			if err != nil {
				return nil, err
			}
			if r.Sealed, err = seal(doc.Key, about(doc.ID, r.Address), plain); err != nil {
				return nil, err
			}
			r.Want, r.Connect = nil, nil
		}
	}
	if len(doc.Secrets) > 0 {
		plain, err := json.Marshal(doc.Secrets)
		if err != nil {
			return nil, err
		}
		if d.Secrets, err = seal(doc.Key, about(doc.ID, "secrets"), plain); err != nil {
			return nil, err
		}
	}
	first, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	records := []journal.Record{{Kind: journal.Document, Data: first}}
	for hash, content := range store.secrets() {
		r, err := sealBlob(doc.Key, doc.ID, hash, content)
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, nil
}

func sealBlob(key []byte, run, hash string, content []byte) (journal.Record, error) {
	sealed, err := seal(key, about(run, "content"), append([]byte(hash), content...))
	if err != nil {
		return journal.Record{}, err
	}
	b, err := json.Marshal(secretBlob{sealed})
	return journal.Record{Kind: journal.Blob, Data: b}, err
}

// errNeverBegun is of a run whose first record never came to be: nothing was done for it.
var errNeverBegun = errors.New("the journal holds no run document")

// load reads a run from its records.
func load(records []journal.Record) (*state, error) {
	s := &state{settled: map[string]wire.Event{}, notified: map[string]string{}, intents: map[string]*intent{}}
	if len(records) == 0 {
		return nil, errNeverBegun
	}
	if records[0].Kind != journal.Document {
		return nil, errors.New("the journal doesn't begin with a run document")
	}
	for i, r := range records {
		var err error
		switch r.Kind {
		case journal.Document:
			err = json.Unmarshal(r.Data, &s.declared)
		case journal.Event:
			var e wire.Event
			if err = json.Unmarshal(r.Data, &e); err == nil {
				s.events = append(s.events, e)
				switch e.Type {
				case wire.Resolved:
					s.settled[e.Address] = e
				case wire.Notified:
					s.notified[e.Address] = e.Text
				}
				s.ended = s.ended || e.Type == wire.Finished
			}
		case journal.Intent:
			var in intent
			if err = json.Unmarshal(r.Data, &in); err == nil && s.intents[in.Address] == nil { // the first is how it was
				s.intents[in.Address] = &in
			}
		case journal.Reboot:
			var re restart
			err = json.Unmarshal(r.Data, &re)
			s.restarts = append(s.restarts, re)
		case journal.Blob:
			var b secretBlob
			err = json.Unmarshal(r.Data, &b)
			s.blobs = append(s.blobs, b)
		}
		if err != nil {
			return nil, fmt.Errorf("record %d of the journal: %w", i+1, err)
		}
	}
	return s, nil
}

// unlock opens with the controller's key what is sealed, and puts secret contents into the store's memory.
func (s *state) unlock(key []byte, store *contents) error {
	if len(key) != keySize {
		return errors.New("the key has the wrong size")
	}
	doc := &s.Document
	resources := append([]wire.Resource(nil), doc.Resources...)
	for i := range resources {
		r := &resources[i]
		if len(r.Sealed) == 0 {
			continue
		}
		plain, err := unseal(key, about(doc.ID, r.Address), r.Sealed)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(plain, &[]any{&r.Want, &r.Connect}); err != nil {
			return err
		}
		r.Sealed = nil
	}
	if len(s.Secrets) > 0 {
		plain, err := unseal(key, about(doc.ID, "secrets"), s.Secrets)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(plain, &doc.Secrets); err != nil {
			return err
		}
	}
	for _, b := range s.blobs {
		plain, err := unseal(key, about(doc.ID, "content"), b.Sealed)
		if err != nil {
			return err
		}
		if len(plain) < 64 {
			return errors.New("a sealed content is cut")
		}
		store.remember(string(plain[:64]), plain[64:])
	}
	doc.Resources, s.key = resources, key
	return nil
}

// sealedNow says whether anything of the run needs a key that isn't here.
func (s *state) sealedNow() bool {
	if s.key != nil {
		return false
	}
	if len(s.Secrets) > 0 || len(s.blobs) > 0 {
		return true
	}
	for _, r := range s.Document.Resources {
		if len(r.Sealed) > 0 {
			return true
		}
	}
	return false
}

// keepRuns is how many runs' journals stay on a device.
const keepRuns = 50

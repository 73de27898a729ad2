// Package store remembers what was done: runs, what became of each device, every event. It is one SQLite file that
// several fitout processes use at once.
//
//	s, err := store.Open(path)
//	err = s.Begin(store.Run{ID: id, Command: "apply", Who: "ann"})
//	err = s.AddEvents(id, "lt-042", events)
//	err = s.Finish(id, results)
//
// It holds no secret: what comes from a device was scrubbed there.
package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules/hint"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Store is an open file. It is safe for concurrent use.
type Store struct{ db *sql.DB }

// Run is one run of a command over devices.
type Run struct {
	ID       string    `json:"id"`
	Command  string    `json:"command"` // apply, plan
	Who      string    `json:"who"`
	From     string    `json:"from"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished,omitzero"` // zero: not known to have ended
	Source   Source    `json:"source,omitzero"`
	Devices  []Device  `json:"devices"`
}

// Source is where a run's devices came from: whoever follows it later reaches them the same way.
type Source struct {
	Inventory string   `json:"inventory,omitempty"` // absolute path; "" for one-off devices
	Profile   string   `json:"profile,omitempty"`
	OneOff    []string `json:"oneOff,omitempty"`
	Undoes    string   `json:"undoes,omitempty"` // the run that is undone
}

// NotEnded is the status of a device whose run isn't known to have ended.
const NotEnded = "not ended"

// Unsettled is a run on a device that isn't known to have ended.
type Unsettled struct {
	Run  string
	Last int    // the last event that is known
	Key  []byte // opens the secrets in the device's journal
}

// Device is what became of a device in a run.
type Device struct {
	Name    string      `json:"name"`
	Address string      `json:"address,omitempty"`
	Profile string      `json:"profile,omitempty"`
	Status  string      `json:"status"`
	Counts  wire.Counts `json:"counts"`
	Error   string      `json:"error,omitempty"`
	Reboot  string      `json:"reboot,omitempty"`
}

const schema = `
CREATE TABLE IF NOT EXISTS runs (id TEXT PRIMARY KEY, command TEXT NOT NULL, who TEXT NOT NULL, origin TEXT NOT NULL, started INTEGER NOT NULL, finished INTEGER);
CREATE TABLE IF NOT EXISTS devices (run TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE, name TEXT NOT NULL, position INTEGER NOT NULL, data TEXT NOT NULL, PRIMARY KEY (run, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (run TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE, device TEXT NOT NULL, n INTEGER NOT NULL, data TEXT NOT NULL, PRIMARY KEY (run, device, n)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (device TEXT PRIMARY KEY, data TEXT NOT NULL) WITHOUT ROWID;
PRAGMA user_version = 1;`

// schema2 is what is known of runs that go on without us.
const schema2 = `
ALTER TABLE runs ADD COLUMN source TEXT NOT NULL DEFAULT '{}';
CREATE TABLE keys (run TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE, device TEXT NOT NULL, key BLOB NOT NULL, PRIMARY KEY (run, device)) WITHOUT ROWID;
CREATE INDEX unsettled ON devices (name) WHERE json_extract(data, '$.status') = 'not ended';
PRAGMA user_version = 2;`

// schema3 is which runs devices may owe notifications since, should they forget that themselves.
const schema3 = `
CREATE TABLE doubts (device TEXT NOT NULL, run TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE, memory TEXT NOT NULL, PRIMARY KEY (device, run)) WITHOUT ROWID;
PRAGMA user_version = 3;`

const version = 3

// Open opens the store, making it where it is missing.
func Open(path string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	// WAL lets readers and a writer work side by side; a writer waits for another instead of failing.
	pragmas := fmt.Sprintf("?_pragma=busy_timeout(%d)", patience.Milliseconds()) + "&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=foreign_keys(1)&_txlock=immediate"
	db, err := sql.Open("sqlite", "file:"+strings.NewReplacer("?", "%3f", "#", "%23", "%", "%25").Replace(path)+pragmas)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // SQLite has one writer; waiting here is cheaper than there
	s := &Store{db}
	err = s.migrate()
	// The first of several processes changes a new file's kind of journal; whom SQLite turns away meanwhile, it doesn't let wait.
	for began := time.Now(); isBusy(err) && time.Since(began) < patience; err = s.migrate() {
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		db.Close()
		return nil, hint.New(fmt.Errorf("open %s: %w", path, err), "move that file away to begin with an empty history; no device needs it")
	}
	os.Chmod(path, 0o600)
	return s, nil
}

// patience is how long another process is waited for.
const patience = 20 * time.Second

func isBusy(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && e.Code()&0xff == sqlite3.SQLITE_BUSY
}

func (s *Store) migrate() error {
	var v int
	if err := s.db.QueryRow("PRAGMA user_version").Scan(&v); err != nil {
		return err
	}
	switch {
	case v == version:
		return nil
	case v > version:
		return fmt.Errorf("it was made by a newer fitout (version %d)", v)
	}
	return s.write(func(tx *sql.Tx) error {
		if err := tx.QueryRow("PRAGMA user_version").Scan(&v); err != nil { // another process may have been quicker
			return err
		}
		for ; v < version; v++ {
			if _, err := tx.Exec([]string{schema, schema2, schema3}[v]); err != nil {
				return err
			}
		}
		return nil
	})
}

// Close closes the file.
func (s *Store) Close() error { return s.db.Close() }

func (s *Store) write(do func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(context.Background(), nil)
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// Begin records that a run begins.
func (s *Store) Begin(r Run) error {
	return s.write(func(tx *sql.Tx) error {
		source, err := json.Marshal(r.Source)
		if err != nil {
			return err
		}
		if _, err := tx.Exec("INSERT INTO runs (id, command, who, origin, started, source) VALUES (?,?,?,?,?,?)", r.ID, r.Command, r.Who, r.From, r.Started.UnixNano(), string(source)); err != nil {
			return err
		}
		return putDevices(tx, r.ID, r.Devices)
	})
}

// SetKey keeps what opens the secrets in a device's journal of a run, which is about to begin. It is on the disk when this
// returns. The run is in doubt until a later one, or itself, has ended well: see Doubts. Memory names what the device
// remembers.
func (s *Store) SetKey(run, device string, key []byte, memory string) error {
	return s.write(func(tx *sql.Tx) error {
		if _, err := tx.Exec("INSERT OR REPLACE INTO keys (run, device, key) VALUES (?,?,?)", run, device, key); err != nil {
			return err
		}
		_, err := tx.Exec("INSERT OR REPLACE INTO doubts (device, run, memory) VALUES (?,?,?)", device, run, memory)
		return err
	})
}

// Doubt is a run after which a device may owe notifications.
type Doubt struct{ Run, Memory string }

// maxDoubts is how many runs a device may have in doubt: its own journals are bounded, too.
const maxDoubts = 20

// Doubts returns, by device, the runs in doubt, the oldest first.
func (s *Store) Doubts() (map[string][]Doubt, error) {
	rows, err := s.db.Query("SELECT d.device, d.run, d.memory FROM doubts d JOIN runs r ON r.id=d.run ORDER BY r.rowid")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string][]Doubt{}
	for rows.Next() {
		var device string
		var d Doubt
		if err := rows.Scan(&device, &d.Run, &d.Memory); err != nil {
			return nil, err
		}
		out[device] = append(out[device], d)
	}
	for device, ds := range out {
		out[device] = ds[max(0, len(ds)-maxDoubts):]
	}
	return out, rows.Err()
}

// Settled says that devices owe nothing any more.
func (s *Store) Settled(devices []string) error {
	return s.write(func(tx *sql.Tx) error {
		for _, d := range devices {
			if _, err := tx.Exec("DELETE FROM doubts WHERE device=?", d); err != nil {
				return err
			}
		}
		return nil
	})
}

// Key is what opens the secrets in a device's journal of a run, or nil.
func (s *Store) Key(run, device string) (key []byte, err error) {
	err = s.db.QueryRow("SELECT key FROM keys WHERE run=? AND device=?", run, device).Scan(&key)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return key, err
}

// Unsettled returns, by device, the runs that were sent to devices and aren't known to have ended, the oldest first.
func (s *Store) Unsettled() (map[string][]Unsettled, error) {
	rows, err := s.db.Query(`SELECT d.name, d.run, k.key, COALESCE((SELECT MAX(n) FROM events e WHERE e.run=d.run AND e.device=d.name), 0)
FROM devices d JOIN keys k ON k.run=d.run AND k.device=d.name WHERE json_extract(d.data, '$.status') = 'not ended' ORDER BY d.run`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string][]Unsettled{}
	for rows.Next() {
		var name string
		var u Unsettled
		if err := rows.Scan(&name, &u.Run, &u.Key, &u.Last); err != nil {
			return nil, err
		}
		out[name] = append(out[name], u)
	}
	return out, rows.Err()
}

// Settle records what became of one device in a run, and the run's end where that was the last.
func (s *Store) Settle(run string, at time.Time, d Device) error {
	return s.write(func(tx *sql.Tx) error {
		b, err := json.Marshal(d)
		if err != nil {
			return err
		}
		if _, err := tx.Exec("UPDATE devices SET data=? WHERE run=? AND name=?", string(b), run, d.Name); err != nil {
			return err
		}
		_, err = tx.Exec(`UPDATE runs SET finished=? WHERE id=? AND finished IS NULL
AND NOT EXISTS (SELECT 1 FROM devices WHERE run=? AND json_extract(data, '$.status') = 'not ended')`, at.UnixNano(), run, run)
		return err
	})
}

// Finish records how a run ended. Devices replace those of the same name.
func (s *Store) Finish(run string, at time.Time, devices []Device) error {
	return s.write(func(tx *sql.Tx) error {
		if !slices.ContainsFunc(devices, func(d Device) bool { return d.Status == NotEnded }) {
			if _, err := tx.Exec("UPDATE runs SET finished=? WHERE id=?", at.UnixNano(), run); err != nil {
				return err
			}
		}
		return putDevices(tx, run, devices)
	})
}

func putDevices(tx *sql.Tx, run string, devices []Device) error {
	for i, d := range devices {
		b, err := json.Marshal(d)
		if err != nil {
			return err
		}
		if _, err := tx.Exec("INSERT OR REPLACE INTO devices (run, name, position, data) VALUES (?,?,?,?)", run, d.Name, i, string(b)); err != nil {
			return err
		}
	}
	return nil
}

// AddEvents records what happened on a device. An event that is there already is left alone.
func (s *Store) AddEvents(run, device string, events []wire.Event) error {
	return s.write(func(tx *sql.Tx) error {
		for _, e := range events {
			b, err := json.Marshal(e)
			if err != nil {
				return err
			}
			if _, err := tx.Exec("INSERT OR IGNORE INTO events (run, device, n, data) VALUES (?,?,?,?)", run, device, e.N, string(b)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Runs lists the last n runs, the newest first.
func (s *Store) Runs(n int) ([]Run, error) {
	rows, err := s.db.Query("SELECT id, command, who, origin, started, finished, source FROM runs ORDER BY rowid DESC LIMIT ?", n)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var runs []Run
	for rows.Next() {
		r, err := scan(rows.Scan)
		if err != nil {
			return nil, err
		}
		runs = append(runs, r)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for i := range runs {
		if runs[i].Devices, err = s.devices(runs[i].ID); err != nil {
			return nil, err
		}
	}
	return runs, nil
}

func scan(scan func(...any) error) (r Run, err error) {
	var started int64
	var finished sql.NullInt64
	var source string
	if err = scan(&r.ID, &r.Command, &r.Who, &r.From, &started, &finished, &source); err != nil {
		return r, err
	}
	if err = json.Unmarshal([]byte(source), &r.Source); err != nil {
		return r, err
	}
	r.Started = time.Unix(0, started).UTC()
	if finished.Valid {
		r.Finished = time.Unix(0, finished.Int64).UTC()
	}
	return r, nil
}

// Find returns the run with this ID, or the only one whose ID begins or ends so. "" and "last" are the newest.
func (s *Store) Find(id string) (Run, error) {
	query, args := "SELECT id, command, who, origin, started, finished, source FROM runs WHERE id LIKE ? ESCAPE '!' OR id LIKE ? ESCAPE '!' ORDER BY rowid DESC LIMIT 2", []any{like(id) + "%", "%" + like(id)}
	if id == "" || id == "last" {
		query, args = "SELECT id, command, who, origin, started, finished, source FROM runs ORDER BY rowid DESC LIMIT 1", nil
	}
	rows, err := s.db.Query(query, args...)
	if err != nil {
		return Run{}, err
	}
	defer rows.Close()
	var found []Run
	for rows.Next() {
		r, err := scan(rows.Scan)
		if err != nil {
			return r, err
		}
		if r.ID == id {
			found = []Run{r}
			break
		}
		found = append(found, r)
	}
	rows.Close()
	switch {
	case len(found) == 0:
		return Run{}, hint.New(fmt.Errorf("no run %q is known here", id), "`fitout runs` lists them")
	case len(found) > 1:
		return Run{}, hint.New(fmt.Errorf("several runs match %q", id), "give more of the run's id")
	}
	found[0].Devices, err = s.devices(found[0].ID)
	return found[0], err
}

func like(s string) string {
	return strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(s)
}

func (s *Store) devices(run string) ([]Device, error) {
	rows, err := s.db.Query("SELECT data FROM devices WHERE run=? ORDER BY position", run)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Device
	for rows.Next() {
		var b string
		var d Device
		if err := rows.Scan(&b); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(b), &d); err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, rows.Err()
}

// Events returns what happened on a device in a run.
func (s *Store) Events(run, device string) ([]wire.Event, error) {
	rows, err := s.db.Query("SELECT data FROM events WHERE run=? AND device=? ORDER BY n", run, device)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []wire.Event
	for rows.Next() {
		var b string
		var e wire.Event
		if err := rows.Scan(&b); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(b), &e); err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, rows.Err()
}

// SetFacts keeps what devices were last time.
func (s *Store) SetFacts(facts map[string]map[string]any) error {
	return s.write(func(tx *sql.Tx) error {
		for device, f := range facts {
			b, err := json.Marshal(f)
			if err != nil {
				return err
			}
			if _, err := tx.Exec("INSERT OR REPLACE INTO facts (device, data) VALUES (?,?)", device, string(b)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Facts returns what devices were last time, by name.
func (s *Store) Facts() (map[string]map[string]any, error) {
	rows, err := s.db.Query("SELECT device, data FROM facts")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string]map[string]any{}
	for rows.Next() {
		var name, b string
		var f map[string]any
		if err := rows.Scan(&name, &b); err != nil {
			return nil, err
		}
		if json.Unmarshal([]byte(b), &f) == nil {
			out[name] = f
		}
	}
	return out, rows.Err()
}

package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fitout-dev/fitout/modules/hint"
)

// Save writes a plan file in one step. It is readable by its owner only: it tells a lot of the fleet.
func Save(path string, p *Plan) error {
	b, err := json.MarshalIndent(p, "", " ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".plan-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(append(b, '\n'))
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// Load reads a plan file.
func Load(path string) (*Plan, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	again := "make a new one with `fitout plan --out " + path + "`"
	var p Plan
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&p); err != nil {
		return nil, hint.New(fmt.Errorf("%s: not a plan file: %w", path, err), "%s", again)
	}
	if p.Format != Format {
		return nil, hint.New(fmt.Errorf("%s: plan format %d is not known to this fitout", path, p.Format), "%s", again)
	}
	return &p, nil
}

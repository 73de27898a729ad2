// Package inventory reads the list of devices: how each is reached, what it is called, which profile and variables it has.
//
//	inv, err := inventory.Load("site.yaml", inventory.Options{})
//	devices, err := inv.Select("laptops", "lt-042")
//
// It promises: everything that is wrong in the file is reported at once, with positions; the file of secrets is decrypted
// only if a device needs one of it; and what is secret stays a secret.Value.
package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-multierror"

	"github.com/fitout-dev/fitout/engine/profile"
	"github.com/fitout-dev/fitout/engine/profile/expression"
	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/schema"
)

// Inventory is the content of an inventory file.
type Inventory struct {
	File    string
	Devices []Device // in the file's order
	Groups  []string // all that are named, sorted
	// Secrets are those of the inventory's file and of FITOUT_SECRET_NAME, for the profiles of its devices.
	Secrets secret.Source
	// Variables are the names of all variables that some device has, sorted.
	Variables []string
}

// Device is one device, with what its groups and the defaults say.
type Device struct {
	Name, Address, User string
	Profile             string // as profile.Loader takes it; "" where none is named
	Groups              []string
	Variables           map[string]any // JSON's values, texts that hold a secret as secret.Value
	Connect             Connect
	Position            profile.Position
}

// Connect says how a device is reached. What is not said is zero.
type Connect struct {
	Transport    string // ssh, winrm or local
	Port         int
	User         string
	Password     secret.Value
	IdentityFile string
	Jump         string
	Sudo         bool
	SudoPassword secret.Value
	HostKey      string
	Timeout      time.Duration

	Auth        string
	TLS         *bool
	NoPull      bool // large contents are sent, however slow the transport is
	Fingerprint string
	CAFile      string
	Realm       string
	Keytab      string
}

// Compile makes the resources of the device. Facts are nil before the first contact.
func (d Device) Compile(p *profile.Profile, facts map[string]any) (*profile.Compiled, error) {
	return p.Compile(profile.Device{Name: d.Name, Address: d.Address, User: d.User, Groups: d.Groups,
		Variables: d.Variables, Facts: facts})
}

// Options say where to look.
type Options struct {
	Env  func(string) (string, bool) // nil: os.LookupEnv
	Keys secret.Keys                 // to decrypt the file of secrets with
}

// maxFile is more than any inventory needs; schema.Read refuses smaller ones too.
const maxFile = 64 << 20

// Load reads an inventory. The error holds all that is wrong, sorted by position.
func Load(path string, o Options) (*Inventory, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, hint.New(fmt.Errorf("no inventory %s", path), "name one with -i, or a single device with --device ssh://USER@ADDRESS")
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("%s is a folder, not an inventory", path)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%s has %d MB, too much for an inventory", path, info.Size()>>20)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d, err := schema.Read(path, data)
	if err != nil {
		if d != nil {
			err = schema.Sort(errors.Join(err, schema.ValidateInventory(d)))
		}
		return nil, err
	}
	l := &loader{dir: filepath.Dir(path), options: o, profiles: map[string]found{}}
	l.fault(schema.ValidateInventory(d))
	src := &expression.Source{File: path, Dir: l.dir, Data: bytes.TrimPrefix(data, []byte("\uFEFF"))}
	root, err := expression.New(src, d.Root, nil)
	l.fault(err)
	inv := l.inventory(path, root)
	if err := schema.Sort(l.faults.ErrorOrNil()); err != nil {
		return nil, err
	}
	return inv, nil
}

// Select finds devices by their names and groups, in the inventory's order, each once; all of them if no name is given.
func (inv *Inventory) Select(names ...string) ([]Device, error) {
	if len(names) == 0 {
		return inv.Devices, nil
	}
	var faults *multierror.Error
	wanted := map[string]bool{}
	all := slices.Clone(inv.Groups)
	for _, d := range inv.Devices {
		all = append(all, d.Name)
	}
	for _, arg := range names {
		for name := range strings.SplitSeq(arg, ",") {
			wanted[name] = true
			if slices.Contains(all, name) {
				continue
			}
			err := fmt.Errorf("%s has no device or group %q", inv.File, name)
			if s := hint.Near(name, all); s != "" {
				err = hint.New(err, "did you mean %q?", s)
			}
			faults = multierror.Append(faults, err)
		}
	}
	if err := schema.Sort(faults.ErrorOrNil()); err != nil {
		return nil, err
	}
	var out []Device
	for _, d := range inv.Devices {
		if wanted[d.Name] || slices.ContainsFunc(d.Groups, func(g string) bool { return wanted[g] }) {
			out = append(out, d)
		}
	}
	return out, nil
}

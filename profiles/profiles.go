// Package profiles holds the profiles that ship with fitout, and finds a profile by its name.
//
//	ref, err := profiles.Find("inventories/site", "baseline-linux")   // "shipped:baseline-linux"
//	text, err := profiles.Open("baseline-linux")
//
// A shipped profile is embedded: it needs no file at the technician's.
package profiles

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fitout-dev/fitout/modules/hint"
)

//go:embed *.yaml
var files embed.FS

// Shipped marks a reference to a profile that ships with fitout, as Find returns it.
const Shipped = "shipped:"

// FS are the shipped profiles and the files that they name.
func FS() fs.FS { return files }

// List names the shipped profiles, sorted.
func List() []string {
	entries, err := fs.Glob(files, "*.yaml")
	if err != nil {
		panic(err) // the pattern is constant
	}
	for i, e := range entries {
		entries[i] = strings.TrimSuffix(e, ".yaml")
	}
	return entries
}

// Open returns the text of a shipped profile.
func Open(name string) ([]byte, error) {
	b, err := files.ReadFile(name + ".yaml")
	if err != nil {
		return nil, unknown(name, "ships with fitout")
	}
	return b, nil
}

// Find turns what a profile, an inventory or a person calls a profile into a path or a reference to a shipped one. A
// name is NAME.yaml in dir, or else a shipped profile; what has a slash or ends in .yaml or .yml is a path from dir.
func Find(dir, name string) (string, error) {
	if strings.HasPrefix(name, Shipped) {
		return name, nil
	}
	if IsPath(name) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, nil
	}
	beside := filepath.Join(dir, name+".yaml")
	if _, err := os.Stat(beside); err == nil {
		return beside, nil
	}
	if _, err := fs.Stat(files, name+".yaml"); err == nil {
		return Shipped + name, nil
	}
	return "", unknown(name, "ships with fitout, and "+beside+" isn't there")
}

// IsPath says whether a profile is named by its path.
func IsPath(name string) bool {
	ext := filepath.Ext(name)
	return strings.ContainsAny(name, `/\`) || ext == ".yaml" || ext == ".yml"
}

func unknown(name, where string) error {
	err := fmt.Errorf("no profile %q %s", name, where)
	if s := hint.Near(name, List()); s != "" {
		return hint.New(err, "did you mean %q?", s)
	}
	return hint.New(err, "`fitout profiles` lists what ships; a path of your own has a slash or ends in .yaml")
}

// Command generate writes the JSON Schemas of profiles and inventories into the folder schema, from the structs of the
// resource types and from those in this package: names, types and tags by reflection, descriptions from the doc comments.
//
//	go generate ./schema
//
// The schemas are draft-07, which editors know best. Any value may be an expression; that is said without anyOf wherever
// it can be, because "pattern" binds texts alone: {"type": ["boolean", "string"], "pattern": "\\$\\{"}. So an editor's
// completion and messages stay those of the real type.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fitout-dev/fitout/modules/registry"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run() error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	g := newGenerator(root)
	for name, schema := range map[string]func() (object, error){
		"profile.schema.json":   func() (object, error) { return g.profileSchema(registry.Types) },
		"inventory.schema.json": g.inventorySchema,
	} {
		o, err := schema()
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(root, "schema", name), encode(o), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// moduleRoot is the folder of go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if filepath.Dir(dir) == dir {
			return "", errors.New("no go.mod in this folder or above")
		}
		dir = filepath.Dir(dir)
	}
}

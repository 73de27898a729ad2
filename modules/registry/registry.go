// Package registry lists all resource types. A new type is one line here.
package registry

import (
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/accounts"
	"github.com/fitout-dev/fitout/modules/applications"
	"github.com/fitout-dev/fitout/modules/files"
	"github.com/fitout-dev/fitout/modules/scripts"
	"github.com/fitout-dev/fitout/modules/security"
	"github.com/fitout-dev/fitout/modules/services"
	"github.com/fitout-dev/fitout/modules/settings"
	"github.com/fitout-dev/fitout/modules/updates"
)

// Types are all resource types in the order in which they are applied where no edge says otherwise; deletions go the
// other way round.
var Types = []*modules.Type{
	modules.Define("hostname", settings.Hostnames{}),
	modules.Define("timezone", settings.Timezones{}),
	modules.Define("sysctl", settings.Sysctls{}),
	modules.Define("environment", settings.Environments{}),
	modules.Define("hosts", settings.Hosts{}),
	modules.Define("registryKeys", settings.RegistryKeys{}),
	modules.Define("registry", settings.RegistryValues{}),
	modules.Define("certificates", security.Certificates{}),
	modules.Define("packages", applications.Packages{}),
	modules.Define("groups", accounts.Groups{}),
	modules.Define("users", accounts.Users{}),
	modules.Define("directories", files.Directories{}),
	modules.Define("files", files.Files{}),
	modules.Define("lines", files.Lines{}),
	modules.Define("links", files.Links{}),
	modules.Define("installers", applications.Installers{}),
	modules.Define("printers", settings.Printers{}),
	modules.Define("shortcuts", settings.Shortcuts{}),
	modules.Define("time", settings.Times{}),
	modules.Define("services", services.Services{}),
	modules.Define("tasks", settings.Tasks{}),
	modules.Define("commands", scripts.Commands{}),
	modules.Define("updates", updates.Updates{}),
}

// Find returns the type with this name, or nil.
func Find(name string) *modules.Type { return byName[name] }

// Position is a type's place in the order.
func Position(name string) int { return position[name] }

var (
	byName   = map[string]*modules.Type{}
	position = map[string]int{}
)

func init() {
	for i, t := range Types {
		if byName[t.Name] != nil {
			panic("registry: " + t.Name + " is defined twice")
		}
		byName[t.Name], position[t.Name] = t, i
	}
}

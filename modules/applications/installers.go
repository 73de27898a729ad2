package applications

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/registry"
	"github.com/fitout-dev/fitout/modules/host/setup"
)

// Installer is an application that comes with an installer of its own: a package of Windows Installer (MSI) or a program
// (EXE). It runs without questions and never restarts the machine by itself; that a restart is needed is reported.
//
// Whether the application is there is found by productCode, entry, file or registry; with several, all of them must say so.
// With none, an entry in the list of installed applications is looked for that has the same name.
type Installer struct {
	// A name to tell it by and, where nothing else says how to find it, the name under which Windows lists it.
	Name string `json:"name" fit:"key" title:"Name" example:"Example App"`
	// The installer, a file beside the profile; it travels to the device when it is needed there.
	Source *host.Blob `json:"source,omitzero" fit:"managed" blob:"source" title:"Installer" example:"installers/app.msi"`
	// The installer, on the device or on a share that fitout's account can read, instead of source.
	Path string `json:"path,omitzero" fit:"behaviour" title:"Path of the installer" example:"\\\\server\\software\\app.msi"`
	// Where the device downloads the installer, instead of source. Needs a hash. The machine's own proxy is used.
	URL string `json:"url,omitzero" fit:"behaviour" title:"Address of the installer" pattern:"^https?://[^/]" example:"https://example.com/app-2.0.msi"`
	// The SHA-256 of what url or path leads to, in hexadecimal digits. Nothing runs that hasn't it; what it is asked of is copied
	// to the device first.
	Hash string `json:"hash,omitzero" fit:"behaviour" title:"SHA-256" pattern:"^[0-9a-fA-F]{64}$" example:"b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"`
	// Who made the installer. It is recognised from the file, and the switches that make it ask nothing are added to the arguments:
	// msi /qn /norestart, inno /VERYSILENT /SUPPRESSMSGBOXES /NORESTART /SP-, nsis /S, installshield /s /v/qn, wix /quiet /norestart.
	// With exe, and for one that isn't recognised, `arguments` have to say all.
	Kind string `json:"kind,omitzero" fit:"behaviour" title:"Kind" enum:"msi,inno,nsis,installshield,wix,exe" example:"nsis"`
	// Further arguments; for MSI properties such as INSTALLDIR=C:\App. A secret can't be part of them: every user of the device
	// could read it.
	Arguments []string `json:"arguments,omitzero" fit:"behaviour,argv" title:"Arguments" example:"[\"INSTALLDIR=C:\\\\App\"]"`
	// Arguments for the program that removes the application, in place of those that its entry and its kind give it.
	RemovalArguments []string `json:"removalArguments,omitzero" fit:"behaviour,argv" title:"Arguments for removal" example:"[/silent]"`
	// The application is there if Windows Installer has this product. The braces may be left out.
	ProductCode string `json:"productCode,omitzero" fit:"behaviour" title:"Product code" example:"{90160000-008C-0000-0000-0000000FF1CE}"`
	// The application is there if Windows lists an application of this name, or whose key is called so; a * at the end stands for
	// anything. Looked for are the machine's of 64 and 32 bits, and those of the user whom fitout runs as.
	Entry string `json:"entry,omitzero" fit:"behaviour" title:"Uninstall entry" example:"Example App *"`
	// The application is there if this file is. Its version is the one in its resources.
	File string `json:"file,omitzero" fit:"behaviour" title:"File" example:"C:\\Program Files\\Example\\app.exe"`
	// The application is there if this value is in the registry: a key's path, a \ and the value's name. Its version is the
	// value's text.
	Registry string `json:"registry,omitzero" fit:"behaviour" title:"Registry value" example:"HKLM\\SOFTWARE\\Example\\Version"`
	// The version that should be there, or with >= before it the lowest. Missing numbers at the end are 0. Left out, any will do.
	Version *string `json:"version,omitzero" fit:"managed" title:"Version" example:"2.0"`
	// Install an older version than the one that is there. One of Windows Installer is removed before that.
	AllowDowngrade bool `json:"allowDowngrade,omitzero" fit:"behaviour" title:"Allow a downgrade" default:"false"`
	// Further exit codes that count as success, beside 0, 1641 and 3010.
	ExitCodes []int `json:"exitCodes,omitzero" fit:"behaviour" title:"Good exit codes" example:"[1]"`
	// For whom it is installed: for the machine, or for the user whom fitout runs as. Left out, the installer decides.
	// Kinds that have a switch for it: msi, inno, nsis. Seen to work are nsis, and msi for the machine; of an msi for the user and
	// of inno the switches are from their documentation.
	Scope string `json:"scope,omitzero" fit:"behaviour" experimental:"windows" title:"Scope" enum:"machine,user" example:"machine"`
	State string `json:"state,omitzero" fit:"state" enum:"present,absent" title:"State"`

	// What it was found by: the product code, or the entry's key.
	Found string `json:"found,omitzero" fit:"observed" title:"Found as"`
}

// Installers implements Installer.
type Installers struct{}

var (
	_ modules.Resource[Installer] = Installers{}
	_ modules.Checker[Installer]  = Installers{}
	_ modules.Comparer[Installer] = Installers{}
	_ modules.Inverter[Installer] = Installers{}
	_ modules.Referrer[Installer] = Installers{}
)

// Platforms are where the type exists.
func (Installers) Platforms() []string { return []string{"windows"} }

// Refs is the file that the installer is.
func (Installers) Refs(want Installer) []string {
	if want.Path == "" {
		return nil
	}
	return []string{"files/" + want.Path}
}

// Check finds what can't work.
func (Installers) Check(want Installer) error {
	from := 0
	for _, there := range []bool{want.Source != nil, want.Path != "", want.URL != ""} {
		if there {
			from++
		}
	}
	switch {
	case from > 1:
		return errors.New("source, path and url: only one of them can be where the installer is")
	case from == 0 && want.State != modules.Absent:
		return hint.New(errors.New("source: missing"), "say where the installer is: source, path or url")
	case want.URL != "" && want.Hash == "":
		return hint.New(errors.New("hash: missing: what is downloaded has to have one"), "add the SHA-256 of the file, as Get-FileHash or sha256sum prints it")
	case want.Source != nil && want.Hash != "":
		return errors.New("hash: only for url and path; a source is always verified")
	case want.Path != "" && !isAbsolute(want.Path):
		return hint.New(fmt.Errorf("path: %q is no absolute path of Windows", want.Path), `it begins with a drive, as C:\, or with a share, as \\server\share\`)
	case want.File != "" && !isAbsolute(want.File):
		return hint.New(fmt.Errorf("file: %q is no absolute path of Windows", want.File), `it begins with a drive, as C:\`)
	}
	if want.ProductCode != "" {
		if _, err := setup.CheckCode(want.ProductCode); err != nil {
			return hint.New(fmt.Errorf("productCode: %w", err), "it is {8-4-4-4-12} hexadecimal digits; the braces may be left out, both of them")
		}
	}
	if want.Registry != "" {
		if _, _, _, err := want.registryValue(); err != nil {
			return fmt.Errorf("registry: %w", err)
		}
	}
	if want.Version != nil {
		bare := strings.TrimSpace(strings.TrimPrefix(*want.Version, ">="))
		if _, ok := setup.CompareVersions(bare, bare); bare == "" || bare != *want.Version && !ok {
			return hint.New(fmt.Errorf("version: %q is no version that others can be compared with", *want.Version), "write numbers with dots between them, as >=2.0")
		}
	}
	if want.Scope != "" && want.Kind != "" {
		if _, ok := setup.Kind(want.Kind).Scope(want.Scope); !ok {
			return hint.New(fmt.Errorf("scope: installers of kind %s have no switch for it that is known", want.Kind), "leave it out, and say it by `arguments`")
		}
	}
	for _, a := range slices.Concat(want.Arguments, want.RemovalArguments) {
		if strings.ContainsAny(a, "\x00\r\n") {
			return fmt.Errorf("arguments: %q holds a line's end or a NUL", a)
		}
	}
	return nil
}

func isAbsolute(path string) bool {
	return strings.HasPrefix(path, `\\`) || len(path) > 3 && path[1] == ':' && path[2] == '\\'
}

// registryValue divides the path of a value that shows the application.
func (i Installer) registryValue() (hive, key, name string, err error) {
	hive, key, err = registry.Split(i.Registry)
	if err != nil {
		return "", "", "", err
	}
	at := strings.LastIndexByte(key, '\\')
	if hive != registry.LocalMachine || at < 0 {
		return "", "", "", hint.New(fmt.Errorf("%q is no value below HKLM", i.Registry), `write the key's path, a \ and the value's name`)
	}
	return hive, key[:at], key[at+1:], nil
}

// versionMet says whether a version is one that is wanted, and whether it is newer than that.
func versionMet(want, have string) (met, newer bool) {
	bare := strings.TrimSpace(strings.TrimPrefix(want, ">="))
	order, ok := setup.CompareVersions(have, bare)
	switch {
	case !ok:
		return have == want, false
	case bare != want:
		return order >= 0, false
	}
	return order == 0, order > 0
}

// Compare takes a version by its numbers. The installer itself isn't what is there: it is needed where the version isn't.
func (Installers) Compare(property string, want, have Installer) (met, ok bool) {
	if have.State == modules.Absent {
		return false, false
	}
	switch property {
	case "version", "source":
		if want.Version == nil {
			return true, true
		}
		if have.Version == nil {
			return false, true
		}
		met, _ := versionMet(*want.Version, *have.Version)
		return met, true
	}
	return false, false
}

// Inverse removes what was installed. What was removed or replaced comes back only by its own installer.
func (Installers) Inverse(want, have Installer) (Installer, error) {
	if have.State == modules.Absent {
		back := want
		back.State = modules.Absent
		return back, nil
	}
	version := ""
	if have.Version != nil {
		version = " " + *have.Version
	}
	if want.State == modules.Absent && want.Version != nil && have.Version != nil && (want.Source != nil || want.Path != "" || want.URL != "") {
		if met, _ := versionMet(*want.Version, *have.Version); met && !strings.HasPrefix(*want.Version, ">=") {
			back := want
			back.State = modules.Present
			return back, nil
		}
	}
	return Installer{}, hint.New(fmt.Errorf("the installer of %s%s isn't at hand", have.Name, version),
		"declare the version that was there, with its installer; an entry with state: absent that names both can be taken back")
}

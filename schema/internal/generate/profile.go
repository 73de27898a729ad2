package main

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/schema"
)

// profile is what a profile has beside resource types.
type profile struct {
	// The profile's name. Without it, it is the file's name without its ending.
	Profile string `json:"profile,omitzero" title:"Name" pattern:"^\\S(.*\\S)?$" example:"sales-laptop"`
	// The version of this format. There is only 1 so far.
	Format int `json:"format,omitzero" title:"Format" const:"1"`
	// What the profile is for, in a few words.
	Description string `json:"description,omitzero" title:"Description" example:"Laptops of the sales team" null:"true"`
	// Profiles that this one builds on: the name of a shipped one, or a path relative to this file. Lists of resources are
	// merged by key, so that an entry here adds to or changes one there. Of several, later ones win.
	Extends []string `json:"extends,omitzero" title:"Extends" types:"array,string" example:"baseline-linux" null:"true"`
	// Values of any kind, used as ${vars.NAME}. Those of the inventory win over them.
	Variables map[string]any `json:"variables,omitzero" title:"Variables" names:"^[A-Za-z_][A-Za-z0-9_]*$" nameMessage:"a variable's name has letters, digits and _, and begins with no digit" example:"{company: Example S.A.}" null:"true"`
}

// runSettings are how a run is carried out on the device: reboots, and what must be right before anything changes. Profiles that extend each
// other are merged key by key.
type runSettings struct {
	// Whether the device may be rebooted where a change needs it: never (then it is only reported) or ifNeeded. A resource's own
	// "reboot" wins over it, and --reboot over both.
	Reboot string `json:"reboot,omitzero" title:"Reboot" enum:"never,ifNeeded" default:"never" example:"ifNeeded"`
	// When the device may be rebooted: two times of day in the device's local time. A reboot that is needed waits for it. Any
	// time where it is left out.
	RebootWindow string `json:"rebootWindow,omitzero" title:"Reboot window" pattern:"^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$" example:"22:00-06:00"`
	// How long those who are logged on are warned before a reboot. Where nobody is, it comes at once.
	RebootDelay string `json:"rebootDelay,omitzero" title:"Reboot delay" pattern:"^([0-9]+(\\.[0-9]+)?(h|m|s|ms))+$" default:"1m" example:"5m"`
	// How often one run may reboot the device.
	MaxReboots int `json:"maxReboots,omitzero" title:"Most reboots" minimum:"1" maximum:"100" default:"5" example:"3"`
	// Whether the run goes on after a reboot without fitout. Then the secrets that it still needs stay on the device until it ends,
	// sealed by a key that only root can read. Otherwise what needs a secret waits for fitout to come back.
	Unattended bool `json:"unattended,omitzero" title:"Unattended" default:"false" example:"true"`
	// What happens when the device starts again after a power cut or a crash in the middle of a run: continue, or wait for fitout.
	AfterPowerCut string `json:"afterPowerCut,omitzero" title:"After a power cut" enum:"continue,wait" default:"continue" example:"wait"`
	// How full the battery of a device without mains must be for a run to begin, in percent.
	MinBattery int `json:"minBattery,omitzero" title:"Least battery" minimum:"1" maximum:"100" default:"20" example:"50"`
	// How much of the disk must be free beyond what will be written, as in "500MB" or "2GiB".
	MinDisk string `json:"minDisk,omitzero" title:"Least disk" pattern:"^[0-9]+(\\.[0-9]+)? ?([KMGT]i?)?B$" default:"200MB" example:"500MB"`
	// How long to wait for another program that is installing packages.
	WaitFor string `json:"waitFor,omitzero" title:"Wait for" pattern:"^([0-9]+(\\.[0-9]+)?(h|m|s|ms))+$" default:"10m" example:"30m"`
	// How soon fitout must have reached the device in the new way after a change of how it is reached ("connect" of a resource).
	// When it hasn't, the device takes the change back.
	ConfirmWithin string `json:"confirmWithin,omitzero" title:"Confirm within" pattern:"^([0-9]+(\\.[0-9]+)?(h|m|s|ms))+$" default:"2m" example:"5m"`
}

// entry is what every entry of a profile may carry.
type entry struct {
	// An expression that decides whether the resource is for this device. Where it doesn't hold, the resource is skipped.
	// It reads device, vars, env and, with forEach, item; it stands without ${ }.
	When any `json:"when,omitzero" title:"When" types:"string,boolean" example:"device.os == \"linux\""`
	// Makes an entry of this one for each value of a list or a map, which the entry reads as ${item}. An expression
	// without ${ }, or the list itself. Of a map, item has key and value.
	ForEach any `json:"forEach,omitzero" title:"For each" types:"string,array,object" example:"vars.pupils"`
	// Addresses (type/key) of resources that must be in their state before this one's turn.
	After []string `json:"after,omitzero" title:"After" example:"packages/nginx"`
	// Addresses (type/key) of resources that are told when this one has changed: a service restarts, a command runs.
	Notify []string `json:"notify,omitzero" title:"Notify" example:"services/ssh"`
	// How long applying the resource may take, as in "90s", "10m" or "1h30m".
	Timeout string `json:"timeout,omitzero" title:"Time-out" pattern:"^([0-9]+(\\.[0-9]+)?(h|m|s|ms))+$" example:"10m"`
	// How often applying is tried again after it has failed.
	Retries int `json:"retries,omitzero" title:"Retries" minimum:"0" example:"2"`
	// Whether the device may be rebooted where this resource needs it: never or ifNeeded. Left out, what the profile's "run" says.
	Reboot string `json:"reboot,omitzero" title:"Reboot" enum:"never,ifNeeded" example:"ifNeeded"`
	// How the device is reached once this is applied and what it notifies has been told, where that changes: address, port, user, password,
	// identityFile, hostKey. fitout must reach it so, in a new connection, before the run goes on; when it hasn't within "confirmWithin" of the profile's
	// "run", the device takes the change back by itself. For that long, what is needed for that lies on the device, where only root can read it.
	Connect reach `json:"connect,omitzero" title:"Connect" example:"{port: 2222}"`
	// false drops an entry that an extended profile declares: what is on the device is left as it is.
	Managed bool `json:"managed,omitzero" title:"Managed" example:"false"`
}

// reach is what may change of the way to a device while a run is under way.
type reach struct {
	// The new host name or IP address.
	Address string `json:"address,omitzero" title:"Address" pattern:"^\\S+$" example:"10.0.3.43"`
	// The new TCP port.
	Port int `json:"port,omitzero" title:"Port" minimum:"1" maximum:"65535" example:"2222"`
	// The new user to log on as.
	User string `json:"user,omitzero" title:"User" pattern:"^\\S+$" example:"admin"`
	// The new password to log on with, from a secret.
	Password string `json:"password,omitzero" title:"Password" example:"${secrets.admin}" secret:"true"`
	// The file of the new private SSH key. ~ is the home folder; a path is relative to the profile.
	IdentityFile string `json:"identityFile,omitzero" title:"Identity file" example:"~/.ssh/fitout"`
	// "new" where host keys are replaced. The device tells fitout which ones it has then, over the connection that is already verified. Once
	// a new connection has shown one of exactly these, it is kept as known in the place of the old one.
	HostKey string `json:"hostKey,omitzero" title:"Host key" enum:"new" example:"new"`
}

// The ways to write a file's content, by the name of the property.
var blobs = map[string]struct{ title, doc, example string }{
	"source": {"Source file", "A file whose bytes are taken as they are: a path relative to the profile.", "files/sshd.conf"},
	"template": {"Template file", "A file that is filled in first: a path relative to the profile. It is a template of Go's text/template over the same " +
		"names that expressions have: {{.device.name}}, {{.vars.company}}.", "files/issue.tmpl"},
}

var expression = object{
	{"title", "Expression"}, {"description", "A value that is computed for each device: text with ${...} in it."},
	{"type", "string"}, {"pattern", schema.ExpressionPattern},
}

var inEntry = place{expression: true, null: true}

func (g *generator) profileSchema(types []*modules.Type) (object, error) {
	definitions := object{{"expression", expression}}
	common, err := g.properties(reflect.TypeFor[entry](), inEntry)
	if err != nil {
		return nil, err
	}
	for _, m := range common {
		definitions.set("any."+m.key, m.value)
	}
	properties, err := g.properties(reflect.TypeFor[profile](), place{})
	if err != nil {
		return nil, err
	}
	settings, err := g.runSchema()
	if err != nil {
		return nil, err
	}
	definitions.set("run", settings)
	properties.set("run", object{{"$ref", "#/definitions/run"}})
	for _, t := range types {
		def, err := g.resource(t, common.keys())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.Name, err)
		}
		definitions.set(t.Name, def)
		ref := object{{"$ref", "#/definitions/" + t.Name}}
		if t.Singleton() {
			properties.set(t.Name, ref)
			continue
		}
		properties.set(t.Name, object{
			{"title", def.get("title")}, {"description", def.get("description")},
			{"type", []string{"array", "null"}}, {"items", ref},
		})
	}
	return object{
		{"$schema", "http://json-schema.org/draft-07/schema#"},
		{"$comment", "Generated by go generate ./schema. Do not edit."},
		{"title", "fitout profile"},
		{"description", "The state that machines are brought to. Every key is a resource type, or one of profile, format, description, extends, variables and run."},
		{"type", "object"},
		{"properties", properties},
		{"additionalProperties", false},
		{"definitions", definitions},
	}, nil
}

// runSchema is the schema of how a run is carried out.
func (g *generator) runSchema() (object, error) {
	t := reflect.TypeFor[runSettings]()
	v, err := g.structure(t, place{null: true}, inEntry)
	if err != nil {
		return nil, err
	}
	doc, err := g.docs.of(t, "")
	if err != nil {
		return nil, err
	}
	return g.annotate("Run", doc, t, "", v)
}

func (g *generator) properties(t reflect.Type, at place) (object, error) {
	o, err := g.structure(t, place{}, at)
	if err != nil {
		return nil, err
	}
	return o.get("properties").(object), nil
}

// resource is the schema of one entry of a type.
func (g *generator) resource(t *modules.Type, common []string) (object, error) {
	owner := t.GoType()
	var properties, observed, short object
	var required []string
	var exclusive []object
	for _, f := range t.Fields {
		if f.Role == modules.Observed {
			v, err := g.property(owner, f.Go, f.Type, f.Tag, place{})
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.Name, err)
			}
			observed.set(f.Name, v)
			continue
		}
		if f.IsBlob() {
			if err := g.blob(&properties, owner, f); err != nil {
				return nil, err
			}
			exclusive = append(exclusive, pairs(f.Blob)...)
			continue
		}
		at := place{expression: true, null: f.Role != modules.Key}
		doc, err := g.docs.of(owner, f.Go)
		if err != nil {
			return nil, err
		}
		if f.Role == modules.State && doc == "" {
			doc = "Whether it should be there: " + strings.Join(f.Enum(), " or ") + "."
		}
		doc += limits(f.On, f.Experimental)
		v, err := g.value(f.Type, f.Tag, at)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		if v, err = g.annotate(f.Tag.Get("title"), doc, f.Type, f.Tag, v); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		if f.Secret {
			v.set("writeOnly", true)
		}
		if f.Argv { // for messages
			v.set("x-argv", true)
		}
		properties.set(f.Name, v)
		_, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Role == modules.Key && options == "" {
			required = append(required, f.Name)
		}
		if f.Short {
			if short, err = g.value(f.Type, f.Tag, place{expression: true}); err != nil {
				return nil, err
			}
		}
	}
	if len(required) > 1 || len(required) == 1 && required[0] != t.Short() && !t.Singleton() {
		short = nil // one text isn't enough to name it
	}
	for _, name := range common {
		if properties.get(name) == nil && !(name == "forEach" && t.Singleton()) {
			properties.set(name, object{{"$ref", "#/definitions/any." + name}})
		}
	}
	doc, err := g.docs.of(owner, "")
	if err != nil {
		return nil, err
	}
	doc += limits(nil, t.Experimental())
	at := place{null: t.Singleton()}
	o, err := g.annotate(title(t.Name), doc, owner, "", shortOr(short, at, properties, required))
	if err != nil {
		return nil, err
	}
	if len(exclusive) > 0 {
		o.set("allOf", exclusive)
	}
	if len(observed) > 0 { // for fitout explain, and for the message to who declares one
		o.set("x-observed", observed)
	}
	return o, nil
}

// limits says where something exists, and where it was never seen to work.
func limits(on, experimental []string) string {
	text := ""
	if on != nil {
		text += " On " + systems(on) + " only."
	}
	if experimental != nil {
		text += " Experimental on " + systems(experimental) + ": it was not tried on a real system there."
	}
	return text
}

// systems are platforms as people call them.
func systems(platforms []string) string {
	return strings.NewReplacer("linux", "Linux", "windows", "Windows", "darwin", "macOS").Replace(strings.Join(platforms, " and "))
}

// blob adds the properties that a profile writes for a content.
func (g *generator) blob(properties *object, owner reflect.Type, f modules.Field) error {
	for _, name := range f.Blob {
		title, tag := f.Tag.Get("title"), reflect.StructTag("")
		doc, err := g.docs.of(owner, f.Go)
		if err != nil {
			return err
		}
		if b, ok := blobs[name]; ok {
			title, doc, tag = b.title, b.doc, reflect.StructTag(fmt.Sprintf("example:%q", b.example))
		}
		text := reflect.TypeFor[string]()
		v, err := g.value(text, tag, inEntry)
		if err != nil {
			return err
		}
		if v, err = g.annotate(title, doc, text, tag, v); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		properties.set(name, v)
	}
	return nil
}

// pairs forbids every two of these properties together. null, which unsets, doesn't count.
func pairs(names []string) []object {
	var out []object
	text := object{{"type", "string"}}
	for i, a := range names {
		for _, b := range names[i+1:] {
			out = append(out, object{{"not", object{
				{"required", []string{a, b}}, {"properties", object{{a, text}, {b, text}}},
			}}})
		}
	}
	return out
}

// title makes "Scheduled tasks" of scheduledTasks.
func title(name string) string {
	var b strings.Builder
	for i, r := range name {
		switch {
		case i == 0:
			b.WriteRune(unicode.ToUpper(r))
		case unicode.IsUpper(r):
			b.WriteString(" " + string(unicode.ToLower(r)))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

package inventory

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/go-multierror"

	"github.com/fitout-dev/fitout/engine/profile"
	"github.com/fitout-dev/fitout/engine/profile/expression"
	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/profiles"
)

// loader reads one inventory. What wins: the device, then later groups, earlier groups, the defaults. Variables and
// connect are merged key by key.
type loader struct {
	dir      string
	options  Options
	faults   *multierror.Error
	scope    *expression.Scope
	profiles map[string]found
}

type found struct {
	ref string
	err error
}

func (l *loader) fault(err error) bool {
	if err != nil {
		l.faults = multierror.Append(l.faults, err)
	}
	return err != nil
}

// layer is what the defaults, a group or a device says.
type layer struct {
	profile            *expression.Value
	user, address      any
	connect, variables map[string]any
	at                 map[string]*expression.Value // of the keys of connect
}

func (l *loader) inventory(path string, root *expression.Value) *Inventory {
	inv := &Inventory{File: path, Secrets: l.secrets(root)}
	l.names(root, inv.Secrets)
	defaults := l.layer(root.Field("defaults"))
	groups := map[string]layer{}
	known := map[string]bool{}
	if g := root.Field("groups"); g != nil {
		for _, name := range g.Keys() {
			groups[name], known[name] = l.layer(g.Field(name)), true
		}
	}
	vars := map[string]bool{}
	if devices := root.Field("devices"); devices != nil {
		for _, name := range devices.Keys() {
			v := devices.Field(name)
			d := Device{Name: name, Position: profile.Position{File: path, Line: v.Node.Line, Col: v.Node.Column}}
			d.Groups = l.groups(v)
			layers := []layer{defaults}
			for _, g := range d.Groups {
				known[g] = true
				layers = append(layers, groups[g])
			}
			l.device(&d, append(layers, l.layer(v)))
			for name := range d.Variables {
				vars[name] = true
			}
			inv.Devices = append(inv.Devices, d)
			if g := root.Field("groups"); g != nil && g.Field(name) != nil {
				l.fault(v.Problem("rename one of them", "%s is the name of a device and of a group", name))
			}
		}
	}
	inv.Groups, inv.Variables = slices.Sorted(maps.Keys(known)), slices.Sorted(maps.Keys(vars))
	return inv
}

// secrets is the source that the inventory names.
func (l *loader) secrets(root *expression.Value) secret.Source {
	env := secret.Env{Lookup: l.options.Env}
	if v := root.Field("secrets"); v != nil {
		name, _ := v.Literal()
		if path, ok := name.(string); ok {
			if !filepath.IsAbs(path) {
				path = filepath.Join(l.dir, path)
			}
			env.Else = &secret.File{Path: path, Keys: l.options.Keys}
		} else if !v.Constant() {
			l.fault(v.Problem("", "the name of the file of secrets can't have an expression"))
		}
	}
	return env
}

// names finds what expressions mention, and makes the scope that they are evaluated in.
func (l *loader) names(root *expression.Value, secrets secret.Source) {
	names := expression.Names{Secrets: secrets, Env: l.options.Env}
	root.Programs(func(_ *expression.Program, r expression.Ref, fault func(string, string) error) {
		f := &expression.Fault{Msg: "an inventory knows no " + r.Root, Hint: "write ${secrets.NAME} or ${env.NAME}"}
		if r.Root == "secrets" || r.Root == "env" {
			f = names.Take(r)
		}
		if f != nil && f.Msg != "" {
			l.fault(fault(f.Msg, f.Hint))
		}
	})
	l.scope = expression.NewScope(nil, false, names.SecretTexts, names.EnvTexts, false)
	l.scope.Broken = l.faults.ErrorOrNil() != nil
}

func (l *loader) layer(v *expression.Value) layer {
	out := layer{}
	if v == nil || !v.IsMap() {
		return out
	}
	out.profile = v.Field("profile")
	out.user, out.address = l.value(v.Field("user")), l.value(v.Field("address"))
	if text, ok := out.address.(string); ok {
		l.fault(badAddress(v.Field("address"), text))
	}
	if vars := v.Field("variables"); vars != nil && vars.IsMap() {
		out.variables, _ = l.value(vars).(map[string]any)
	}
	out.connect, out.at = map[string]any{}, map[string]*expression.Value{}
	if user := v.Field("user"); user != nil {
		out.connect["user"], out.at["user"] = out.user, user
	}
	switch c := v.Field("connect"); {
	case c == nil || c.IsNull():
	case c.IsMap():
		for _, k := range c.Keys() {
			out.connect[k], out.at[k] = l.value(c.Field(k)), c.Field(k)
		}
	default:
		out.connect["transport"], out.at["transport"] = l.value(c), c
	}
	return out
}

// badAddress finds a URL, and a port, where only a host is due.
func badAddress(v *expression.Value, text string) error {
	if scheme, _, ok := strings.Cut(text, "://"); ok {
		return v.Problem("write the host alone; "+scheme+" goes into connect: {transport: ...}, a port into connect: {port: ...}",
			"%q is a URL, not a host", text)
	}
	if host, port, ok := strings.Cut(text, ":"); ok && !strings.Contains(port, ":") {
		return v.Problem(fmt.Sprintf("write address: %s, and connect: {port: %s}", host, port), "%q has a port", text)
	}
	if strings.Contains(text, "@") {
		return v.Problem("write the host alone, and user: NAME", "%q has a user", text)
	}
	return nil
}

func (l *loader) value(v *expression.Value) any {
	if v == nil {
		return nil
	}
	x, err := v.Eval(l.scope)
	if err != nil {
		if !l.scope.Broken { // what is wrong was said already
			l.fault(err)
		}
		return nil
	}
	return x
}

func (l *loader) groups(v *expression.Value) []string {
	g := v.Field("groups")
	if g == nil {
		return nil
	}
	list, _ := l.value(g).([]any)
	var names []string
	for _, x := range list {
		if name, ok := x.(string); ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// device merges the layers, the strongest last.
func (l *loader) device(d *Device, layers []layer) {
	connect, at := map[string]any{}, map[string]*expression.Value{}
	var variables any
	var named *expression.Value
	for _, y := range layers {
		for k, x := range y.connect {
			connect[k], at[k] = x, y.at[k]
		}
		if y.variables != nil {
			variables = expression.Merge(variables, y.variables)
		}
		if y.profile != nil {
			named = y.profile
		}
		if a, ok := y.address.(string); ok {
			d.Address = a
		}
	}
	d.Variables = map[string]any{}
	if m, ok := variables.(map[string]any); ok {
		for k, x := range m {
			if x != nil { // null: what others say of it doesn't hold
				d.Variables[k] = x
			}
		}
	}
	if named != nil {
		if name, ok := l.value(named).(string); ok {
			d.Profile = l.profile(named, name)
		}
	}
	d.Connect = l.connect(connect, at)
	d.User = d.Connect.User
	if d.Address == "" {
		d.Address = d.Name
	}
}

func (l *loader) profile(v *expression.Value, name string) string {
	f, seen := l.profiles[name]
	if !seen {
		f.ref, f.err = profiles.Find(l.dir, name)
		if _, shipped := strings.CutPrefix(f.ref, profiles.Shipped); f.err == nil && !shipped {
			f.err = profile.Exists(f.ref)
		}
		l.profiles[name] = f
	}
	if f.err != nil {
		l.fault(v.Problem(hint.Of(f.err), "%s", f.err))
	}
	return f.ref
}

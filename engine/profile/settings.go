package profile

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-multierror"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/engine/profile/expression"
	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/schema"
)

// settings evaluates a profile's "run". What can't be known yet is left at its default.
func (p *Profile) settings(s *expression.Scope) (wire.Settings, error) {
	var out wire.Settings
	var faults *multierror.Error
	values, computed := map[string]any{}, map[string]any{}
	for _, name := range names(p.run) {
		v := p.run[name]
		if v.Tainted(s) {
			faults = multierror.Append(faults, v.Problem("", "a secret can't be used here: plans show how a run is carried out"))
			continue
		}
		x, err := v.Eval(s)
		if err != nil {
			faults = multierror.Append(faults, err)
		} else if _, unknown := x.(expression.Unknown); !unknown && x != nil {
			if values[name] = x; !v.Constant() { // the schema has seen the others
				computed[name] = x
			}
		}
	}
	if len(computed) > 0 {
		for _, f := range schema.ValidateRun(computed) {
			faults = multierror.Append(faults, p.run[f.Path[0]].Problem(f.Hint, "%s", f.Message))
			delete(values, f.Path[0])
		}
	}
	for _, name := range names(values) {
		if err := setting(&out, p.run[name], values[name]); err != nil {
			faults = multierror.Append(faults, err)
		}
	}
	return out, faults.ErrorOrNil()
}

// setting puts the value of one key, which the schema accepts, in its place.
func setting(to *wire.Settings, v *expression.Value, x any) (err error) {
	switch text, _ := x.(string); v.Name() {
	case "reboot":
		to.Reboot = text
	case "rebootWindow":
		if from, until, _ := strings.Cut(text, "-"); from == until {
			return v.Problem("leave it out to allow any time; "+wire.RebootNever+" is said by reboot", "%s has no time in it", text)
		}
		to.RebootWindow = text
	case "rebootDelay":
		to.RebootDelay, err = duration(v, text)
	case "maxReboots":
		to.MaxReboots = whole(x)
	case "unattended":
		to.Unattended = x.(bool)
	case "afterPowerCut":
		to.AfterPowerCut = text
	case "minBattery":
		to.MinBattery = whole(x)
	case "minDisk":
		to.MinDisk, err = bytesOf(v, text)
	case "waitFor":
		to.WaitFor, err = duration(v, text)
	case "confirmWithin":
		to.ConfirmWithin, err = duration(v, text)
	}
	return err
}

// duration reads a length of time, which is more than none.
func duration(v *expression.Value, text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, v.Problem("write 30s, 5m or 1h30m", "%q is no length of time", text)
	}
	return d, nil
}

// whole is a number that the schema takes for a whole one: 6 / 2 is 3.0 in an expression.
func whole(x any) int {
	if f, ok := x.(float64); ok {
		return int(f)
	}
	return int(x.(int64))
}

var units = map[string]float64{"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}

// bytesOf reads a size such as 500MB.
func bytesOf(v *expression.Value, text string) (int64, error) {
	digits := strings.TrimRight(text, " BKMGTi")
	n, err := strconv.ParseFloat(digits, 64)
	n *= units[strings.TrimSpace(text[len(digits):])]
	if err != nil || n < 1 || n >= math.MaxInt64 {
		return 0, v.Problem("write 500MB or 2GiB", "%q is no size", text)
	}
	return int64(n), nil
}

func (b *built) reboot(v *expression.Value, x any) error {
	if slices.Contains([]any{wire.RebootNever, wire.RebootIfNeeded}, x) {
		b.res.Reboot = x.(string)
		return nil
	}
	switch x := x.(type) {
	case nil, expression.Unknown:
		return nil
	case string:
		return v.Problem(didYouMean(x, []string{wire.RebootNever, wire.RebootIfNeeded}, ""), "must be one of never, ifNeeded, not %q", x)
	}
	return v.Problem("", "must be one of never, ifNeeded")
}

// connect keeps how the device is reached after this resource. All of it is shown but the password.
func (b *built) connect(v *expression.Value, x any) error {
	values, ok := x.(map[string]any)
	if !ok {
		return nil
	}
	if len(values) == 0 {
		return v.Problem("say what changes, such as port: 2222", "nothing is in it")
	}
	for _, name := range names(values) {
		if _, unknown := values[name].(expression.Unknown); unknown {
			return nil
		}
		if _, hidden := values[name].(secret.Value); hidden && name != "password" {
			return v.Field(name).Problem("only password may hold one", "a secret can't be used here: %s is shown in messages", name)
		}
	}
	var faults *multierror.Error
	if !v.Constant() {
		for _, f := range schema.ValidateConnect(values) {
			faults = multierror.Append(faults, v.At(f.Path).Problem(f.Hint, "%s", f.Message))
		}
	}
	if faults != nil {
		return faults
	}
	if text, ok := values["password"].(string); ok {
		values["password"] = secret.New(text)
	}
	if port, ok := values["port"]; ok {
		values["port"] = int64(whole(port))
	}
	if text, ok := values["identityFile"].(string); ok {
		values["identityFile"] = localPath(v.Source.Dir, text)
	}
	b.res.Connect = values
	return nil
}

// localPath is a path of this machine as a profile in dir writes it.
func localPath(dir, path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

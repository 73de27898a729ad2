package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/fitout-dev/fitout/engine/inventory"
	"github.com/fitout-dev/fitout/engine/run"
	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/engine/transport/elevate"
	"github.com/fitout-dev/fitout/engine/transport/ssh"
)

// redial says how a device that was reached by o is reached when a run changes that.
func redial(d inventory.Device, o ssh.Options, target run.Target) func(map[string]any) (run.Way, error) {
	return func(connect map[string]any) (run.Way, error) {
		to, news, err := moved(o, connect)
		if err != nil {
			return run.Way{}, err
		}
		target := target
		sudo, password := target.Elevate, d.Connect.SudoPassword
		if to.User != o.User {
			sudo = to.User != "root"
			target.Elevate, target.Privileged = sudo, !sudo
		}
		if text, ok := connect["password"].(string); ok && text != "" && password != (secret.Value{}) && password.Reveal() == d.Connect.Password.Reveal() {
			password = secret.New(text) // sudo asks for the login's own
		}
		way := run.Way{Target: target, News: strings.Join(news, ", ")}
		way.Dial = elevated(d.Name, sudo, password, func(ctx context.Context) (elevate.Inner, error) { return ssh.Dial(ctx, to) })
		way.Redial = redial(d, to, target)
		way.Keep = func(ctx context.Context) error { return ssh.Adopt(ctx, to) }
		return way, nil
	}
}

// moved is how a device is reached after a change of that, and what the inventory must say then.
func moved(o ssh.Options, connect map[string]any) (to ssh.Options, news []string, err error) {
	to = o
	for _, k := range slices.Sorted(maps.Keys(connect)) {
		v := connect[k]
		text := fmt.Sprint(v)
		differs := true
		switch k {
		case "address":
			differs = to.Address != text
			to.Address = text
		case "port":
			port, err := strconv.Atoi(text)
			if err != nil {
				return o, nil, fmt.Errorf("port %s: %w", text, err)
			}
			differs = to.Port != port
			to.Port = port
		case "user":
			differs = to.User != text
			to.User = text
		case "password":
			if _, ok := v.(string); !ok { // the device only knows that there is one
				return o, nil, errors.New("its new password isn't known here")
			}
			password := text
			to.Password = func() (string, error) { return password, nil }
			text = "the new one"
		case "identityFile":
			differs = to.IdentityFile != text
			to.IdentityFile = text
		case "hostKeys":
			keys, _ := v.([]any)
			var lines []string
			for _, key := range keys {
				lines = append(lines, fmt.Sprint(key))
			}
			to.HostKey = strings.Join(lines, "\n")
			differs = false
		case "hostKey":
			if keys, _ := connect["hostKeys"].([]any); len(keys) == 0 {
				return o, nil, errors.New("the device has not named its new host keys yet")
			}
			differs = o.HostKey != ""
			text = "the new one"
		}
		if differs {
			news = append(news, k+": "+text)
		}
	}
	to, err = ssh.Moved(o, to)
	return to, news, err
}

package settings

import (
	"context"
	"fmt"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/fitout-dev/fitout/modules/host/spool"
)

// Observe implements modules.Resource.
func (r Printers) Observe(_ context.Context, h *host.Host, want Printer) (Printer, error) {
	have := Printer{Name: want.Name, State: modules.Absent}
	if !h.Living() {
		return have, host.ErrNeedsSystem
	}
	if err := r.Check(want); err != nil {
		return have, err
	}
	p, err := spool.Find(want.Name)
	if err != nil {
		return have, err
	}
	first, err := spool.Default()
	if err != nil {
		return have, err
	}
	have.DefaultWas = &first
	port := want.NoPort
	if port == nil {
		port = want.Port
	}
	if port != nil {
		there, err := spool.HasPort(*port)
		if err != nil {
			return have, err
		}
		if !there {
			have.NoPort = port
		}
	}
	if p == nil {
		return have, nil
	}
	have.State, have.Port, have.Driver, have.Comment, have.Location = modules.Present, &p.Port, &p.Driver, &p.Comment, &p.Location
	have.Default = modules.Ptr(strings.EqualFold(first, want.Name))
	return have, nil
}

// Apply implements modules.Resource.
func (r Printers) Apply(_ context.Context, h *host.Host, want, have Printer) (modules.Outcome, error) {
	if err := r.Check(want); err != nil {
		return modules.Outcome{}, err
	}
	if want.State == modules.Absent {
		if err := spool.Remove(h, want.Name); err != nil {
			return modules.Outcome{}, err
		}
		return modules.Outcome{}, restore(h, want)
	}
	p := spool.Printer{Name: want.Name}
	for _, each := range []struct {
		to         *string
		want, have *string
	}{{&p.Port, want.Port, have.Port}, {&p.Driver, want.Driver, have.Driver}, {&p.Comment, want.Comment, have.Comment}, {&p.Location, want.Location, have.Location}} {
		if each.want != nil {
			*each.to = *each.want
		} else if each.have != nil {
			*each.to = *each.have
		}
	}
	if p.Port == "" || p.Driver == "" {
		return modules.Outcome{}, hint.New(fmt.Errorf("printer %s: there is none yet, and a new one needs a port and a driver", want.Name), "declare `port` and `driver`")
	}
	if err := ensurePort(h, p.Port); err != nil {
		return modules.Outcome{}, err
	}
	var err error
	if have.State == modules.Absent {
		err = spool.Add(h, p)
	} else if want.differs(have) {
		err = spool.Change(h, p)
	}
	if err != nil {
		return modules.Outcome{}, err
	}
	if want.Default != nil && (have.Default == nil || !*have.Default) {
		return modules.Outcome{}, spool.SetDefault(h, want.Name)
	}
	return modules.Outcome{}, restore(h, want)
}

// differs says whether something of the queue itself is to be changed.
func (want Printer) differs(have Printer) bool {
	for _, each := range [][2]*string{{want.Port, have.Port}, {want.Driver, have.Driver}, {want.Comment, have.Comment}, {want.Location, have.Location}} {
		if each[0] != nil && (each[1] == nil || *each[0] != *each[1]) {
			return true
		}
	}
	return false
}

func ensurePort(h *host.Host, name string) error {
	there, err := spool.HasPort(name)
	if err != nil || there {
		return err
	}
	return spool.AddPort(h, name)
}

// restore does what only undo asks for: it makes the printer the default one that was it before, unless that is gone since, and
// removes the port that was made.
func restore(h *host.Host, want Printer) error {
	if want.DefaultWas != nil && *want.DefaultWas != "" {
		p, err := spool.Find(*want.DefaultWas)
		if err == nil && p != nil {
			err = spool.SetDefault(h, *want.DefaultWas)
		}
		if err != nil {
			return err
		}
	}
	if want.NoPort == nil {
		return nil
	}
	there, err := spool.HasPort(*want.NoPort)
	if err != nil || !there {
		return err
	}
	return spool.RemovePort(h, *want.NoPort)
}

package preflight

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/fitout-dev/fitout/engine/executor/wire"
)

const supplies = "/sys/class/power_supply"

// battery refuses a run that the battery may not last for: a kernel or firmware that was half written when the power went
// may not start again. Settings.MinBattery below zero asks for no check.
func (d device) battery(o Options) []wire.Finding {
	names, err := d.ReadDir(supplies)
	if err != nil {
		return nil
	}
	var p power
	for _, name := range names {
		p.add(d.read(supplies+"/"+name+"/type"), properties(d.read(supplies+"/"+name+"/uevent")))
	}
	percent, drains := p.state()
	if !drains || percent >= o.Settings.MinBattery {
		return nil
	}
	return []wire.Finding{{Check: Battery, Fatal: true, Text: fmt.Sprintf("the battery is at %d %% and no mains is connected; at least %d %% are asked for", percent, o.Settings.MinBattery),
		Remedy: "connect the power supply, or lower run.minBattery in the profile"}}
}

// properties reads the lines of a power supply's uevent: POWER_SUPPLY_CAPACITY=87.
func properties(uevent string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(uevent) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			m[strings.TrimPrefix(k, "POWER_SUPPLY_")] = v
		}
	}
	return m
}

// power sums up a machine's power supplies.
type power struct {
	now, full          float64 // of all batteries whose energy or charge is known
	capacity, measured int     // per cent of those that tell that alone, added up; how many
	batteries          int
	mains              bool
}

func (p *power) add(kind string, of map[string]string) {
	if of["SCOPE"] == "Device" { // a mouse's
		return
	}
	if kind != "Battery" && kind != "UPS" {
		p.mains = p.mains || (of["ONLINE"] != "" && of["ONLINE"] != "0")
		return
	}
	if of["PRESENT"] == "0" {
		return
	}
	switch of["STATUS"] {
	case "Charging", "Full", "Not charging": // the last: a charge limit was reached
		p.mains = true
	}
	p.batteries++
	if n, err := strconv.Atoi(of["CAPACITY"]); err == nil {
		p.capacity, p.measured = p.capacity+n, p.measured+1
	}
	for _, unit := range []string{"ENERGY", "CHARGE"} {
		now, err1 := strconv.ParseFloat(of[unit+"_NOW"], 64)
		full, err2 := strconv.ParseFloat(of[unit+"_FULL"], 64)
		if err1 == nil && err2 == nil && full > 0 {
			p.now, p.full = p.now+now, p.full+full
			break
		}
	}
}

// state is how full the batteries are, and whether they are all that the machine has. What isn't known is no finding.
func (p *power) state() (percent int, drains bool) {
	switch {
	case p.batteries == 0 || p.mains:
		return 100, false
	case p.batteries == 1 && p.measured == 1: // the driver knows better than our division
		return p.capacity, true
	case p.full > 0:
		return int(p.now * 100 / p.full), true
	case p.measured > 0:
		return p.capacity / p.measured, true
	}
	return 100, false
}

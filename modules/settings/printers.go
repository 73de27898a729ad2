package settings

import (
	"errors"
	"fmt"
	"strings"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
)

// Printer is a local print queue of Windows. Its driver has to be there already; its port is made where it is missing, and stays
// when the queue goes; an undo removes what was made.
type Printer struct {
	// The queue's name.
	Name string `json:"name" fit:"key" title:"Name" example:"Office"`
	// The port: a file that is printed to, a device (LPT1:), or a queue of another machine (\\server\queue).
	Port *string `json:"port,omitzero" fit:"managed" title:"Port" example:"\\\\printserver\\office"`
	// The driver, by the name that Get-PrinterDriver shows.
	Driver *string `json:"driver,omitzero" fit:"managed" title:"Driver" example:"Microsoft PS Class Driver"`
	// What people read beside the queue.
	Comment *string `json:"comment,omitzero" fit:"managed" title:"Comment" example:"Colour, A3"`
	// Where the printer stands.
	Location *string `json:"location,omitzero" fit:"managed" title:"Location" example:"Second floor"`
	// Make it the default printer of the user whom fitout runs as. That it shouldn't be can't be declared: another one is then.
	Default *bool  `json:"default,omitzero" fit:"managed" title:"Default printer" example:"true"`
	State   string `json:"state,omitzero" fit:"state" enum:"present,absent" title:"State"`

	// The default printer, which undo makes so again.
	DefaultWas *string `json:"defaultWas,omitzero" fit:"observed,undo" title:"Default printer before"`
	// A port that isn't there, though it is declared; undo removes it again.
	NoPort *string `json:"noPort,omitzero" fit:"observed,undo" title:"Missing port"`
}

// Printers implements Printer.
type Printers struct{}

var (
	_ modules.Resource[Printer] = Printers{}
	_ modules.Checker[Printer]  = Printers{}
	_ modules.Inverter[Printer] = Printers{}
)

// Platforms are where the type exists.
func (Printers) Platforms() []string { return []string{"windows"} }

// Check finds what no queue can be.
func (Printers) Check(want Printer) error {
	switch {
	case want.Name == "" || len(want.Name) > 220 || strings.ContainsAny(want.Name, "\\,!\x00"):
		return hint.New(fmt.Errorf("name: %q can't be a printer's", want.Name), `it has at most 220 characters, and none of \ , !`)
	case want.Default != nil && !*want.Default:
		return hint.New(errors.New("default: false can't be declared"), "declare `default: true` of the printer that should be it")
	case want.Port != nil && *want.Port == "":
		return errors.New("port: empty")
	case want.Driver != nil && *want.Driver == "":
		return errors.New("driver: empty")
	}
	return nil
}

// Inverse brings back what the queue was, and which was the default one.
func (Printers) Inverse(want, have Printer) (Printer, error) {
	back := have
	back.Default = nil
	if want.Default == nil && (want.State != modules.Absent || have.Default == nil || !*have.Default) && want.DefaultWas == nil {
		back.DefaultWas = nil
	}
	return back, nil
}

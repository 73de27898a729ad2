package settings

import (
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/modules"
)

// element is one of XML, without namespaces: a task's definition has but one.
type element struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Text     string     `xml:",chardata"`
	Children []element  `xml:",any"`
}

const taskNamespace = "http://schemas.microsoft.com/windows/2004/02/mit/task"

func el(name string, children ...element) element {
	return element{XMLName: xml.Name{Local: name}, Children: children}
}

func leaf(name, text string) element { return element{XMLName: xml.Name{Local: name}, Text: text} }

func (e element) name() string { return e.XMLName.Local }

func (e *element) child(name string) *element {
	for i := range e.Children {
		if e.Children[i].name() == name {
			return &e.Children[i]
		}
	}
	return nil
}

// text is that of a child, or "".
func (e *element) text(name string) string {
	if c := e.child(name); c != nil {
		return c.Text
	}
	return ""
}

// need is a child, made where it is missing.
func (e *element) need(name string) *element {
	if c := e.child(name); c != nil {
		return c
	}
	e.Children = append(e.Children, el(name))
	return &e.Children[len(e.Children)-1]
}

// set gives a child a text, or removes it.
func (e *element) set(name string, text *string) {
	switch {
	case text == nil:
	case *text == "":
		e.Children = slices.DeleteFunc(e.Children, func(c element) bool { return c.name() == name })
	default:
		*e.need(name) = leaf(name, *text)
	}
}

// parseDefinition reads a task's definition. It says UTF-16 of itself, which it isn't any more.
func parseDefinition(text string) (element, error) {
	var e element
	d := xml.NewDecoder(strings.NewReader(strings.TrimPrefix(text, "\ufeff")))
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	if err := d.Decode(&e); err != nil {
		return e, err
	}
	if e.name() != "Task" {
		return e, errors.New("it is none: " + e.name())
	}
	e.plain()
	return e, nil
}

// plain drops the namespace, and the blanks between elements.
func (e *element) plain() {
	e.XMLName.Space = ""
	e.Attrs = slices.DeleteFunc(e.Attrs, func(a xml.Attr) bool { return a.Name.Local == "xmlns" })
	if len(e.Children) > 0 || strings.TrimSpace(e.Text) == "" {
		e.Text = ""
	}
	for i := range e.Children {
		e.Children[i].plain()
	}
}

func (e element) xml() (string, error) {
	b, err := xml.MarshalIndent(e, "", "  ")
	return string(b), err
}

// sameElement compares elements, in which the order of what they hold doesn't count.
func sameElement(a, b element) bool {
	if a.name() != b.name() || strings.TrimSpace(a.Text) != strings.TrimSpace(b.Text) || len(a.Children) != len(b.Children) {
		return false
	}
	left := slices.Clone(b.Children)
	for _, c := range a.Children {
		i := slices.IndexFunc(left, func(o element) bool { return sameElement(c, o) })
		if i < 0 {
			return false
		}
		left = slices.Delete(left, i, i+1)
	}
	return true
}

func sameDefinition(a, b string) bool {
	x, errX := parseDefinition(a)
	y, errY := parseDefinition(b)
	return errX == nil && errY == nil && sameElement(x, y)
}

// newDefinition is what a new task has besides what is declared.
func newDefinition() element {
	return el("Task", el("RegistrationInfo"), el("Triggers"),
		el("Principals", element{XMLName: xml.Name{Local: "Principal"}, Attrs: []xml.Attr{{Name: xml.Name{Local: "id"}, Value: "Author"}}, Children: []element{leaf("UserId", "S-1-5-18")}}),
		el("Settings", leaf("MultipleInstancesPolicy", "IgnoreNew"), leaf("DisallowStartIfOnBatteries", "false"), leaf("StopIfGoingOnBatteries", "false"),
			leaf("StartWhenAvailable", "true"), leaf("ExecutionTimeLimit", "PT72H"), leaf("Enabled", "true")),
		element{XMLName: xml.Name{Local: "Actions"}, Attrs: []xml.Attr{{Name: xml.Name{Local: "Context"}, Value: "Author"}}})
}

// definition is what is declared, in the definition that there is, or in a new one.
func (t Task) definition(old string) (string, error) {
	e := newDefinition()
	if old != "" {
		var err error
		if e, err = parseDefinition(old); err != nil {
			return "", err
		}
	}
	e.Attrs = []xml.Attr{{Name: xml.Name{Local: "version"}, Value: "1.2"}, {Name: xml.Name{Local: "xmlns"}, Value: taskNamespace}}
	e.need("RegistrationInfo").set("Description", t.Description)
	if t.Triggers != nil {
		triggers := e.need("Triggers")
		triggers.Children = nil
		for _, words := range t.Triggers {
			trigger, err := parseTrigger(words)
			if err != nil {
				return "", err
			}
			triggers.Children = append(triggers.Children, trigger)
		}
	}
	principal := e.need("Principals").need("Principal")
	if t.User != nil {
		sid, logon := serviceAccount(*t.User), ""
		switch {
		case sid != "":
			principal.set("UserId", &sid)
		case t.Password != nil:
			principal.set("UserId", t.User)
			logon = "Password"
		default:
			principal.set("UserId", t.User)
			logon = "InteractiveToken"
		}
		principal.set("LogonType", &logon)
	}
	if t.Elevated != nil {
		level := "LeastPrivilege"
		if *t.Elevated {
			level = "HighestAvailable"
		}
		principal.set("RunLevel", &level)
	}
	if t.Enabled != nil {
		on := "false"
		if *t.Enabled {
			on = "true"
		}
		e.need("Settings").set("Enabled", &on)
	}
	if actions := e.need("Actions"); t.Program != nil || t.WorkingDirectory != nil {
		if actions.child("Exec") == nil {
			actions.Children = nil
		}
		exec := actions.need("Exec")
		exec.set("Command", t.Program)
		exec.set("Arguments", t.Arguments)
		exec.set("WorkingDirectory", t.WorkingDirectory)
	}
	text, err := e.xml()
	return text, err
}

// read sums up a definition.
func (t *Task) read(text string) error {
	e, err := parseDefinition(text)
	if err != nil {
		return err
	}
	t.Definition = &text
	get := func(e *element, name, missing string) *string {
		s := e.text(name)
		if s == "" {
			s = missing
		}
		return &s
	}
	t.Description = get(e.need("RegistrationInfo"), "Description", "")
	principal := e.need("Principals").need("Principal")
	t.User = get(principal, "UserId", "")
	if s := map[string]string{"S-1-5-18": "SYSTEM", "S-1-5-19": "LOCAL SERVICE", "S-1-5-20": "NETWORK SERVICE"}[*t.User]; s != "" {
		t.User = &s
	}
	t.Elevated = modules.Ptr(principal.text("RunLevel") == "HighestAvailable")
	t.Enabled = modules.Ptr(e.need("Settings").text("Enabled") != "false")
	exec := e.need("Actions").need("Exec")
	t.Program, t.Arguments, t.WorkingDirectory = get(exec, "Command", ""), get(exec, "Arguments", ""), get(exec, "WorkingDirectory", "")
	t.Triggers = []string{}
	for _, c := range e.need("Triggers").Children {
		t.Triggers = append(t.Triggers, triggerWords(c))
	}
	return nil
}

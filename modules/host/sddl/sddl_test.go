package sddl

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Descriptor{
		"":                             {},
		"O:BAG:SY":                     {Owner: "BA"},
		"D:":                           {Listed: true},
		"D:P":                          {Listed: true, Flags: "P"},
		"O:S-1-5-18D:AI(A;ID;FA;;;SY)": {Owner: "S-1-5-18", Listed: true, Flags: "AI", Entries: []Entry{{"A", "ID", "FA", ";", "SY", ""}}},
		"D:NO_ACCESS_CONTROL":          {Listed: true, Entries: []Entry{{"A", "OICI", "0x1f01ff", ";", "WD", ""}}},
		// A condition holds brackets, semicolons and colons of its own; then audit entries, which aren't kept.
		`D:(XA;;FX;;;S-1-1-0;(@User.Title=="P:M (x)" && (Member_of {SID(BA)})))(D;OICI;0x1200a9;;;BU)S:(AU;SA;FA;;;WD)`: {Listed: true, Entries: []Entry{
			{"XA", "", "FX", ";", "S-1-1-0", `;(@User.Title=="P:M (x)" && (Member_of {SID(BA)}))`}, {"D", "OICI", "0x1200a9", ";", "BU", ""}}},
	} {
		got, err := Parse(text)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got)\n%s", text, err, diff)
		}
		again, err := Parse(got.String())
		if diff := cmp.Diff(got, again); diff != "" || err != nil {
			t.Errorf("%s, written and read again: %v\n%s", text, err, diff)
		}
	}
	for _, text := range []string{"x", "O", "D:(A;;FA;;;WD", "D:(A;;FA)", "O:BAO:BA", "D:()", "D:(A;;FA;;;WD)x"} {
		if d, err := Parse(text); err == nil {
			t.Errorf("%s is read as %+v", text, d)
		}
	}
}

func TestEntries(t *testing.T) {
	for text, want := range map[string]struct {
		mask                    uint32
		known                   bool
		deny, below, plain, own bool
	}{
		"D:(A;OICI;FA;;;WD)":         {Full, true, false, true, true, true},
		"D:(D;;FRFX;;;WD)":           {0x1200a9, true, true, false, true, true},
		"D:(A;OICIID;0x1301bf;;;WD)": {Modify, true, false, true, true, false},
		"D:(A;OICIIO;GA;;;CO)":       {Full, true, false, true, false, true},
		"D:(A;CI;GA;;;CO)":           {Full, true, false, false, false, true},
		"D:(XA;;FA;;;WD;(1))":        {Full, true, false, false, false, true},
		"D:(A;;FAZ;;;WD)":            {0, false, false, false, true, true},
	} {
		d, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		e := d.Entries[0]
		mask, known := e.Mask()
		deny, below, plain := e.Plain()
		if mask != want.mask || known != want.known || deny != want.deny || below != want.below || plain != want.plain || e.Inherited() == want.own {
			t.Errorf("%s: %x %v, deny %v, below %v, plain %v, inherited %v", text, mask, known, deny, below, plain, e.Inherited())
		}
	}
	d, err := Parse("O:BAD:PAI(A;;FA;;;SY)(A;ID;FA;;;BA)")
	if err != nil || d.Own().String() != "O:BAD:P(A;;FA;;;SY)" {
		t.Errorf("%s, %v", d.Own(), err)
	}
}

func TestAccounts(t *testing.T) {
	for name, want := range map[string]string{"Administrators": "S-1-5-32-544", `BUILTIN\users`: "S-1-5-32-545", `NT AUTHORITY\SYSTEM`: "S-1-5-18", "alice": "", `CORP\Administrators`: ""} {
		if got := Known(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	for text, want := range map[string][2]bool{"S-1-5-32-544": {true, true}, "s-1-1-0": {true, true}, "S-1-5-": {true, false}, "S-1-5-32-": {true, false}, "S-1-x": {true, false}, "alice": {false, true}, "S-2": {false, true}} {
		if is, err := IsSID(text); is != want[0] || (err == nil) != want[1] {
			t.Errorf("%s: %v %v", text, is, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"O:BAG:SYD:PAI(A;OICI;FA;;;SY)(XA;;FX;;;WD;(@User.x==\"(\"))S:(AU;SA;FA;;;WD)", "D:NO_ACCESS_CONTROL", "O:S-1-5-18"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := Parse(text)
		if err != nil {
			return
		}
		for _, e := range d.Entries {
			e.Mask()
			e.Plain()
		}
		again, err := Parse(d.String())
		if err != nil || cmp.Diff(d, again) != "" {
			t.Errorf("%q was read as %+v, and written as %q: %v", text, d, d.String(), err)
		}
	})
}

// Package modules is the contract of a resource type: what can be declared, how it is observed and how it is applied.
//
// One struct plays two roles, what a profile declares (want) and what is on the device (have):
//
//	// Motd is the message of the day.
//	type Motd struct {
//		// What users read when they log on.
//		Text *string `json:"text,omitzero" fit:"managed,short" title:"Text" example:"Property of Example S.A."`
//	}
//
//	// Motds implements Motd.
//	type Motds struct{}
//
//	func (Motds) Observe(ctx context.Context, h *host.Host, want Motd) (Motd, error)            { ... }
//	func (Motds) Apply(ctx context.Context, h *host.Host, want, have Motd) (modules.Outcome, error) { ... }
//
// With the line modules.Define("motd", Motds{}) in package registry it can be declared, diffed, proven, undone and
// explained. Diff, proof and schema are written once, here and in the engine, from the struct's tags. The example below
// is this type in full.
//
// # Tags
//
//	json:"name"      its name in a profile; omitzero on all but a key
//	fit:"key"        names the resource; several keys are joined by "/". A struct without a key is a singleton.
//	fit:"managed"    compared and changed when a profile sets it; a pointer, slice or map with omitzero
//	fit:"behaviour"  how to apply; never compared. default:"..." is allowed here only
//	fit:"observed"   reported, can't be declared
//	fit:"state"      a string: "" and "present" want it there, any other value wants it gone
//	,short           the property that a bare string in a profile stands for (a sole key is so by itself)
//	,path            the value is a path: its declared parent folder comes first
//	,living          needs a running system: not compared in any other root
//	,secret          always treated as a secret: never shown
//	,undo            of what is observed: compared too where undo wants it back
//	,argv            a program's arguments: every user of a device can read them, so no secret may be among them
//	ref:"users"      names an entry of that type, which comes first where it is declared
//	blob:"content"   on a *host.Blob: what the profile may write instead: content, source, template
//	on:"windows"     only these platforms have the property: elsewhere it isn't compared, and a plan notes it
//	experimental:"windows"  it was never seen to work on a real system there
//	title, enum, pattern, example, minimum, format: for the schema. The doc comment is the description.
//
// # Observe and Apply
//
// A Resource keeps no state. Observe changes nothing, is cheap (files and netlink rather than processes) and runs
// concurrently with others; Apply runs alone and may run again after it was interrupted at any point: what counts as
// done goes last. Both reach the device through host alone, which works in any root folder; what needs a running system
// returns host.ErrNeedsSystem where h.Living() is false. Errors name what they are about and, with package hint, what to
// do next. What the plain rule can't express is said by one of the optional powers below: Compare, Inverse, Check, ...
//
// # Adding a type
//
// The type motd, in the area settings, costs the following and nothing else.
//
//  1. modules/settings/motd.go: the struct, each property with a doc comment and a title, and its Resource. An area is a
//     folder; a new one is made by its first type.
//
//  2. A type that isn't for all platforms has a method Platforms. Every file compiles on all of them: what Linux alone
//     has goes to motd_linux.go, and motd_other.go (//go:build !linux) returns errors.ErrUnsupported instead.
//
//  3. modules/settings/testdata/motd/NAME.txtar, a fixture for each case (create, update, same, absent, odd input), and a
//     test that hands them to moduletest.Run, whose package tells the format. Write want.json and the device's files, let
//     go test ./modules/settings -run Motd -update add the rest, and read it. What only a real machine can show is tested
//     on one: see moduletest.OnMachine.
//
//  4. A line in modules/registry/registry.go, where the type belongs in the order in which types are applied.
//
//  5. go generate ./schema writes the JSON Schema anew, which editors, validation and explain use. Commit it.
//
// Then see it: go test ./modules/... ./schema/..., go run . explain motd, and go run . check of a profile with "motd: Hello".
// A row in the README's table of types lets people find it.
package modules

import (
	"context"

	"github.com/fitout-dev/fitout/modules/host"
)

// Resource is a resource type.
type Resource[T any] interface {
	// Observe reports what is on the device now, of everything that want sets and of all that is cheap to know beside
	// it (undo needs it). A resource that isn't there has only its key and the state "absent"; that is no error.
	Observe(ctx context.Context, h *host.Host, want T) (have T, err error)
	// Apply brings the device from have to want. have was observed just before. It may be asked to do half of it again.
	Apply(ctx context.Context, h *host.Host, want, have T) (Outcome, error)
}

// Outcome says what else must happen after an Apply.
type Outcome struct {
	// Reboot is the reason why a reboot is needed, or "".
	Reboot string
	// Unproven says that nothing can be observed that would prove the change, and why: a command without a guard.
	Unproven string
}

// Optional powers, found by assertion on the Resource.
type (
	// Comparer decides whether a managed property is met where equality is not the rule: a version range, a password
	// against its hash, "these groups at least". Property is the name in the profile. ok is false where equality will do.
	Comparer[T any] interface {
		Compare(property string, want, have T) (met, ok bool)
	}
	// Inverter says what undoes a change from have to want, or with an error why nothing can. Without it, undo applies
	// have. It is asked before the change too, so that a plan can tell what couldn't be taken back: it looks at nothing
	// but its arguments. What undo needs beyond the managed properties is observed, and may be part of what Inverse
	// returns: both travel as JSON, and what undoes it in turn is found in the same way.
	Inverter[T any] interface {
		Inverse(want, have T) (T, error)
	}
	// Doubter looks on the device, for a plan, whether it has what the undo of changes will need and Inverse can't know of: for
	// each a reason to doubt, or "". It is asked only of changes that are pending, and may cost something.
	Doubter[T any] interface {
		Doubts(ctx context.Context, h *host.Host, wants, haves []T) []string
	}
	// Keeper names the contents that Inverse refers to where they aren't those of the blob properties at the type's path.
	Keeper[T any] interface {
		Contents(want, have T) []Content
	}
	// BatchObserver observes all resources of a type with one reading. The results match wants one by one.
	BatchObserver[T any] interface {
		ObserveAll(ctx context.Context, h *host.Host, wants []T) []Observation[T]
	}
	// BatchApplier applies all changes of a type in one transaction, with results one by one.
	BatchApplier[T any] interface {
		ApplyAll(ctx context.Context, h *host.Host, wants, haves []T) []Result
	}
	// Notified is a type that something else may notify: a service restarts.
	Notified[T any] interface {
		Notified(ctx context.Context, h *host.Host, want T) error
	}
	// Referrer names further addresses ("files//etc/x.service") that come first where they are declared. One that ends
	// with a slash stands for all that are directly in that folder.
	Referrer[T any] interface {
		Refs(want T) []string
	}
	// Keyer names a resource where its keys alone don't: lines go by an id, or else by their text.
	Keyer[T any] interface {
		Key(want T) string
	}
	// Checker finds what the schema can't express wrong in a declaration, on the controller. No device is there.
	Checker[T any] interface {
		Check(want T) error
	}
	// PlatformChecker finds what is wrong on one platform alone. Where it isn't known yet which one a device has, a declaration
	// that one of them accepts will do.
	PlatformChecker[T any] interface {
		CheckOn(os string, want T) error
	}
	// Guarded is a type whose Observe runs programs that the profile names. It isn't observed while something that the
	// resource comes after is still to be changed.
	Guarded interface {
		Guarded() bool
	}
	// Platformed limits a type to some of linux, windows and darwin.
	Platformed interface {
		Platforms() []string
	}
	// Experimenter names the platforms on which the type was never seen to work on a real system: where there was none to
	// try it on. Schema, reference and plan say so.
	Experimenter interface {
		Experimental() []string
	}
)

// Observation is what ObserveAll says of one resource.
type Observation[T any] struct {
	Have T
	Err  error
}

// Result is what ApplyAll says of one resource.
type Result struct {
	Outcome Outcome
	Err     error
}

// Ptr makes a managed value.
func Ptr[V any](v V) *V { return &v }

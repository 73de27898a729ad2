package host

// WithSteps has f called before each single change to the device's files, those within one method included: a test that
// panics there leaves what a crash at that moment would.
func WithSteps(f func(change string)) Option { return func(h *Host) { h.steps = f } }

// Step says that a change of something else than a file comes now: packages below host call it, and types that change the
// device through what isn't a file.
func (h *Host) Step(change, name string) { h.steps.before(change, name) }

type steps func(change string)

// before says that a change comes now.
func (s steps) before(change, name string) {
	if s != nil {
		s(change + " " + name)
	}
}

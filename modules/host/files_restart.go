package host

// AtRestart is the error of a change that waits for the machine's next start, since a program has the file open. Only Windows
// does that. What was asked for is planned, and Pending tells of it.
type AtRestart struct{ Name string }

func (e *AtRestart) Error() string { return e.Name + " is in use: it is changed at the next start" }

// Reason is what an Outcome says of it.
func (e *AtRestart) Reason() string { return e.Name + " is in use, and is changed at the next start" }

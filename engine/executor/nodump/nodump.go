// Package nodump keeps what a process has in its memory out of files and away from others: both the executor and the
// controller have secrets there as plain text.
//
//	nodump.Set() // first thing in main
//
// On Linux the process leaves no core dump, whatever the limits and the core pattern say, and nobody but root can read its
// environment, memory and open files below /proc or trace it. On other Unix systems its limit of core dumps is 0. On Windows
// Go's runtime has switched error reports off already (unless GOTRACEBACK=wer). What it runs inherits the limit alone, and
// may raise it.
//
// Memory is not locked: a run's contents may be larger than what may be locked, and Go copies what it likes. Where a swap
// partition isn't encrypted, a secret may get there as any program's may.
package nodump

//go:build !unix

package profile

import "os"

// Of Windows no time is known here that programs can't set.
func stampOf(*os.File) (stamp, bool) { return stamp{}, false }

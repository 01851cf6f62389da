// Package build says which build of the project a program is.
package build

import (
	"cmp"
	"runtime/debug"
)

// Version is the release, or the commit with its date, that the program was
// built from, "(devel)" where that was not recorded.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return cmp.Or(info.Main.Version, "(devel)")
}

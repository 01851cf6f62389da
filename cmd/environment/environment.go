// Package environment lets a program's flags be given in the environment.
package environment

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// Set sets the flags that the command line has left alone from variables named
// prefix, then the flag in capitals with _ for -: with the prefix COORDD_ the
// flag --data-dir is COORDD_DATA_DIR. environ is a list of NAME=value. An empty
// variable is none. The error names the variable. Returned are the names of those
// that belong to no flag: typos, or what Kubernetes sets for a service of that name.
func Set(flags *pflag.FlagSet, prefix string, environ []string) (unknown []string, err error) {
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		key, ours := strings.CutPrefix(name, prefix)
		if !ours {
			continue
		}
		f := flags.Lookup(strings.ToLower(strings.ReplaceAll(key, "_", "-")))
		if f == nil {
			unknown = append(unknown, name)
			continue
		}
		if f.Name == "help" || f.Name == "version" || f.Changed || value == "" {
			continue // COORDD_VERSION is what an image carries
		}
		if err := flags.Set(f.Name, value); err != nil {
			return nil, fmt.Errorf("environment variable %s: %w", name, err)
		}
	}
	return unknown, nil
}

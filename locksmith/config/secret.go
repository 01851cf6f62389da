package config

import (
	"fmt"
	"io"
)

// Secret is a text that is never printed, logged or written out. Convert it to
// string to use it.
type Secret string

func (s Secret) shown() string {
	if s == "" {
		return ""
	}
	return "(hidden)"
}

// Format writes the same for every verb.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, s.shown()) }

// MarshalText is what JSON, YAML and logs get.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.shown()), nil }

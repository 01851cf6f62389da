package recipes

import (
	"fmt"
	"strings"
)

// MaxNameBytes bounds the name of a lock.
const MaxNameBytes = 1024

const (
	queueDir     = "/q/"
	abandonedDir = "/x/"
)

// lockPath is where a lock's keys live. An escaped name has no slash, so the ranges below the paths of two names of one
// prefix never meet.
func lockPath(prefix, name string) (string, error) {
	if name == "" {
		return "", fmt.Errorf("%w: empty", ErrInvalidName)
	}
	if len(name) > MaxNameBytes {
		return "", fmt.Errorf("%w: %d bytes, at most %d", ErrInvalidName, len(name), MaxNameBytes)
	}
	return prefix + "/" + escape(name), nil
}

func escape(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; unreserved(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func unreserved(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return c == '.' || c == '_' || c == '-'
}

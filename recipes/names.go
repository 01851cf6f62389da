package recipes

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// Bounds of what names a lock, a semaphore and the like.
const (
	MaxNameBytes   = 1024
	MaxPrefixBytes = 256
	MaxReasonBytes = 1024
	MaxValueBytes  = 1 << 20 // of what a leader proclaims and of an item; a store takes requests of 1.5 MiB by default
)

// What stands below the path of a name.
const (
	queueDir     = "/q/"
	writersDir   = queueDir + "w/"
	readersDir   = queueDir + "r/"
	holdersDir   = "/h/"
	abandonedDir = "/x/"
)

// placement is where something stands in the store and how its attempts there are called: what the options of all kinds
// have in common.
type placement struct {
	path    string
	reason  string
	attempt string // "" makes one for each acquisition
}

func newPlacement(prefix, name, reason, attempt string) (placement, error) {
	path, err := pathOf(prefix, name)
	return placement{path: path, reason: reason, attempt: attempt}, err
}

// validPlacement names the first option that is out of range.
func validPlacement(prefix, reason, attempt string) error {
	switch {
	case strings.HasSuffix(prefix, "/") || len(prefix) > MaxPrefixBytes:
		return fmt.Errorf("recipes: prefix %q ends in a slash or has more than %d bytes", prefix, MaxPrefixBytes)
	case len(reason) > MaxReasonBytes:
		return fmt.Errorf("recipes: reason has %d bytes, at most %d", len(reason), MaxReasonBytes)
	case attempt != "" && !isAttemptID(attempt):
		return fmt.Errorf("recipes: attempt %q is not %d lower-case hexadecimal digits", attempt, 2*attemptBytes)
	}
	return nil
}

// checkValue bounds a value before it is sent: the client's refusal of a message that is too large cannot be told from a
// failure for the moment. Of an attached session's values the store decides.
func (s *Session) checkValue(value string) error {
	if len(value) > MaxValueBytes && !s.attached {
		return fmt.Errorf("recipes: value has %d bytes, at most %d", len(value), MaxValueBytes)
	}
	return nil
}

// newAttempt is the name of an attempt that begins now.
func (p placement) newAttempt() string {
	if p.attempt != "" {
		return p.attempt
	}
	return newAttemptID()
}

func isAttemptID(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && len(s) == 2*attemptBytes && strings.ToLower(s) == s
}

// pathOf is where the keys of a name live. An escaped name has no slash, so the ranges below the paths of two names of
// one prefix never meet.
func pathOf(prefix, name string) (string, error) {
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

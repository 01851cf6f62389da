package slots

import (
	"errors"
	"fmt"
)

var (
	// ErrRefused says that no slot is granted now. See [RefusedError] and
	// [FullError], which are both.
	ErrRefused = errors.New("no slot is granted now")
	// ErrFull says that every slot is taken. It is an [ErrRefused].
	ErrFull error = full{}
	// ErrNotHeld says that the caller holds no slot, or not any more.
	ErrNotHeld = errors.New("slot is not held")
	// ErrNotQueued says that the machine is not, or no longer, in the queue.
	ErrNotQueued = errors.New("machine is not in the queue")
	// ErrPhase says that a phase may not follow the present one.
	ErrPhase = errors.New("phase may not follow")
	// ErrMax says that a limit is outside 0 to MaxSlots.
	ErrMax = errors.New("limit is out of range")
	// ErrName says that a group name or machine id cannot be used.
	ErrName = errors.New("invalid name")
)

// full is [ErrFull].
type full struct{}

func (full) Error() string        { return "every slot is taken" }
func (full) Is(target error) bool { return target == ErrRefused }

// FullError is the [ErrFull] of one attempt, with what it saw.
type FullError struct {
	Held int      // slots in use; above Max after the limit was lowered
	Max  int      // the limit
	By   []string // who holds them: hostnames, or ids of those without
}

func (e *FullError) Error() string {
	return fmt.Sprintf("slots: %d held of at most %d: %v", e.Held, e.Max, ErrFull)
}

// DamagedError says that something in the store cannot be read.
type DamagedError struct {
	Key   string `json:"key"`
	Group string `json:"group,omitempty"` // of what belongs to one
	ID    string `json:"id,omitempty"`    // of a holder: whose record it is
	Why   string `json:"why"`
	terms bool   // it is the policy or the standing of the group
	err   error
}

func (e *DamagedError) Error() string { return fmt.Sprintf("slots: decode %q: %s", e.Key, e.Why) }

// Unwrap returns what was wrong with it.
func (e *DamagedError) Unwrap() error { return e.err }

// Unwrap makes errors.Is(err, ErrFull) true.
func (e *FullError) Unwrap() error { return ErrFull }

// Refusal is what stands against a grant, beside that every slot is taken.
type Refusal string

const (
	RefusedPaused  Refusal = "paused"  // the group or the cluster is paused
	RefusedCluster Refusal = "cluster" // all groups together are at their limit
	RefusedZone    Refusal = "zone"    // the limits of zones
	RefusedMember  Refusal = "member"  // another member of the store is down or may be
	RefusedStage   Refusal = "stage"   // machines of an earlier stage go first, or have not run long enough
	RefusedQueue   Refusal = "queue"   // it is another machine's turn
)

// RefusedError is the [ErrRefused] of one attempt.
type RefusedError struct {
	Kind Refusal
	Why  string // for people, with names and numbers
}

func (e *RefusedError) Error() string { return fmt.Sprintf("slots: %v: %s", ErrRefused, e.Why) }

// Unwrap makes errors.Is(err, ErrRefused) true.
func (e *RefusedError) Unwrap() error { return ErrRefused }

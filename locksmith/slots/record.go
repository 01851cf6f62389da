package slots

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// maxNameBytes bounds group names and machine ids.
const maxNameBytes = 256

// Record says who holds a slot, why, and how far it is.
type Record struct {
	ID       string    `json:"id"`                 // machine id, unique in the group
	Group    string    `json:"group"`              // set by Acquire
	Hostname string    `json:"hostname,omitempty"` // for people
	Zone     string    `json:"zone,omitempty"`     // failure domain
	BootID   string    `json:"boot_id,omitempty"`  // boot under which the phase was entered
	TakenBy  string    `json:"taken_by,omitempty"` // program that took the slot
	Reason   string    `json:"reason,omitempty"`   // why the slot was taken
	Note     string    `json:"note,omitempty"`     // what the holder has to say about its phase
	Phase    Phase     `json:"phase"`              // set by Acquire and SetPhase
	Since    time.Time `json:"since"`              // when the slot was taken, by the holder's clock

	// Fence is the create revision of the record's key. It is no part of the
	// stored value, and is 0 in a record that was not read from the store.
	Fence int64 `json:"fence,omitempty"`
}

// encode gives the stored form: the fence is the key's, not the value's.
func (r Record) encode() (string, error) {
	r.Fence = 0
	b, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("slots: encode record of %q: %w", r.ID, err)
	}
	return string(b), nil
}

// DecodeRecord reads a record from the key and value of a holder.
func DecodeRecord(kv *mvccpb.KeyValue) (Record, error) {
	var r Record
	if err := json.Unmarshal(kv.Value, &r); err != nil {
		return Record{}, fmt.Errorf("slots: decode record %q: %w", kv.Key, err)
	}
	r.Fence = kv.CreateRevision
	return r, nil
}

func checkName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("slots: %s: %w: it is empty", what, ErrName)
	case len(name) > maxNameBytes:
		return fmt.Errorf("slots: %s: %w: %d bytes, at most %d are allowed", what, ErrName, len(name), maxNameBytes)
	case !utf8.ValidString(name):
		return fmt.Errorf("slots: %s: %w: %q is not UTF-8", what, ErrName, name)
	case strings.ContainsFunc(name, unicode.IsControl):
		// A line break in an id would make two machines of it in what people read.
		return fmt.Errorf("slots: %s: %w: %q has control characters", what, ErrName, name)
	}
	return nil
}

var (
	// ErrFull says that every slot is taken. See [FullError] for the numbers.
	ErrFull = errors.New("every slot is taken")
	// ErrNotHeld says that the caller holds no slot, or not any more.
	ErrNotHeld = errors.New("slot is not held")
	// ErrPhase says that a phase may not follow the present one.
	ErrPhase = errors.New("phase may not follow")
	// ErrMax says that a limit is outside 0 to MaxSlots.
	ErrMax = errors.New("limit is out of range")
	// ErrName says that a group name or machine id cannot be used.
	ErrName = errors.New("invalid name")
)

// FullError is the [ErrFull] of one attempt, with what it saw.
type FullError struct {
	Held int // slots in use; above Max after the limit was lowered
	Max  int // the group's limit
}

func (e *FullError) Error() string {
	return fmt.Sprintf("slots: %d held of at most %d: %v", e.Held, e.Max, ErrFull)
}

// Unwrap makes errors.Is(err, ErrFull) true.
func (e *FullError) Unwrap() error { return ErrFull }

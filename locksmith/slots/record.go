package slots

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

const (
	// maxNameBytes bounds group names and machine ids.
	maxNameBytes = 256
	// MaxStage is the last stage; 0 is the first, that of the canaries.
	MaxStage = 99
	// MaxPriority is the highest priority; 0 is the lowest, and the usual one.
	MaxPriority = 99
)

// Who takes slots.
const (
	TakenByAgent    = "locksmithd"
	TakenByOperator = "locksmithctl"
)

// Record says who holds a slot, or waits for one, why, and how far it is.
type Record struct {
	ID       string `json:"id"`                 // machine id, unique in the group
	Group    string `json:"group"`              // set by Acquire and Enqueue
	Hostname string `json:"hostname,omitempty"` // for people
	Zone     string `json:"zone,omitempty"`     // failure domain
	Stage    int    `json:"stage,omitempty"`    // 0 to MaxStage: earlier ones go first
	Priority int    `json:"priority,omitempty"` // 0 to MaxPriority: higher ones go first in a stage
	Member   string `json:"member,omitempty"`   // name in the store's cluster, "" for machines that are no member of it

	BootID     string    `json:"boot_id,omitempty"`  // boot under which the phase was entered
	TakenBy    string    `json:"taken_by,omitempty"` // program that took the slot
	Reason     string    `json:"reason,omitempty"`   // why the slot was taken
	Note       string    `json:"note,omitempty"`     // what the holder has to say about its phase
	Failed     string    `json:"failed,omitempty"`   // why the machine did not come back well; "" while that is not known
	Phase      Phase     `json:"phase"`              // set by Acquire, Enqueue and SetPhase
	PhaseSince time.Time `json:"phase_since"`        // when the phase was entered, by the holder's clock
	Since      time.Time `json:"since"`              // when the slot was taken or, of one that waits, when the reboot was wanted

	// Fence is the create revision of the record's key: of a holder the fence, of
	// one that waits its place. It is no part of the stored value, and is 0 in a
	// record that was not read from the store.
	Fence int64 `json:"fence,omitempty"`
}

// Name is what people know the machine by.
func (r Record) Name() string {
	if r.Hostname != "" {
		return r.Hostname
	}
	return r.ID
}

// Check says what is wrong with a record that is to be stored. [ErrName].
func (r Record) Check() error {
	if err := checkName("machine id", r.ID); err != nil {
		return err
	}
	if r.Stage < 0 || r.Stage > MaxStage {
		return fmt.Errorf("slots: stage %d: %w: 0 to %d are allowed", r.Stage, ErrName, MaxStage)
	}
	if r.Priority < 0 || r.Priority > MaxPriority {
		return fmt.Errorf("slots: priority %d: %w: 0 to %d are allowed", r.Priority, ErrName, MaxPriority)
	}
	return nil
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

// DecodeRecord reads a record from the key and value of a holder. One that does not
// say what its key says cannot be counted where it belongs: it is a [*DamagedError],
// as one that cannot be read.
func DecodeRecord(kv *mvccpb.KeyValue) (Record, error) {
	path := strings.Split(string(kv.Key), "/")
	if len(path) < 2 {
		return Record{}, damaged(kv, errors.New("it is not the key of a holder"))
	}
	group, groupErr := url.QueryUnescape(path[len(path)-2])
	id, idErr := url.QueryUnescape(path[len(path)-1])
	if err := cmp.Or(groupErr, idErr); err != nil {
		return Record{}, damaged(kv, err)
	}
	r, err := decodeRecordOf(kv, group, id)
	if err != nil {
		err.Group, err.ID = group, id
		return Record{}, err
	}
	return r, nil
}

// decodeRecordOf reads the record of a machine of a group, whose key says who it is.
func decodeRecordOf(kv *mvccpb.KeyValue, group, id string) (Record, *DamagedError) {
	var r Record
	if err := json.Unmarshal(kv.Value, &r); err != nil {
		return Record{}, damaged(kv, err)
	}
	if r.Group == "" { // written before records had it
		r.Group = group
	}
	if r.ID != id || r.Group != group {
		return Record{}, damaged(kv, fmt.Errorf("it is the record of machine %q of group %q", r.ID, r.Group))
	}
	r.Fence = kv.CreateRevision
	return r, nil
}

// decodeQueued reads the records of a group's queue, but for those that cannot be
// read: nobody waits for a machine that it cannot know.
func decodeQueued(kvs []*mvccpb.KeyValue, group string) (queue []Record) {
	for _, kv := range kvs {
		if r, err := decodeOneQueued(kv, group); err == nil {
			queue = append(queue, r)
		}
	}
	return queue
}

func decodeOneQueued(kv *mvccpb.KeyValue, group string) (Record, error) {
	id, err := url.QueryUnescape(string(kv.Key[bytes.LastIndexByte(kv.Key, '/')+1:]))
	if err != nil {
		return Record{}, damaged(kv, err)
	}
	r, wrong := decodeRecordOf(kv, group, id)
	if wrong != nil {
		return Record{}, wrong
	}
	return r, nil
}

func decodeRecords(kvs []*mvccpb.KeyValue) ([]Record, error) {
	records := make([]Record, 0, len(kvs))
	for _, kv := range kvs {
		r, err := DecodeRecord(kv)
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, nil
}

func checkName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("slots: %s: %w: it is empty", what, ErrName)
	case len(name) > maxNameBytes:
		return fmt.Errorf("slots: %s: %w: %d bytes, at most %d are allowed", what, ErrName, len(name), maxNameBytes)
	case !utf8.ValidString(name):
		return fmt.Errorf("slots: %s: %w: %q is not UTF-8", what, ErrName, name)
	case strings.ContainsFunc(name, func(c rune) bool { return !unicode.IsGraphic(c) }):
		// A line break in an id would make two machines of it in what people read, and
		// what turns the direction of writing another one.
		return fmt.Errorf("slots: %s: %w: %q has control characters", what, ErrName, name)
	}
	return nil
}

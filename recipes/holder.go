package recipes

import (
	"encoding/json"
	"os"
	"time"
)

// Holder is who waits or holds, for people to read. Of a semaphore's holders the slots are counted; nothing else depends
// on it.
type Holder struct {
	Host     string    `json:"host"`
	PID      int       `json:"pid"`
	Identity string    `json:"identity"`
	Reason   string    `json:"reason,omitempty"`
	Since    time.Time `json:"since"`            // when it began to wait, by the wall clock of Host
	Weight   int64     `json:"weight,omitempty"` // of a semaphore, what it asks for
	Slots    string    `json:"slots,omitempty"`  // of a semaphore, what it holds: "0-2,7"
	Item     string    `json:"item,omitempty"`   // of a queue, what it has claimed
}

// holder is who the session's owner is in an attempt that begins now.
func (s *Session) holder(reason string) Holder {
	return Holder{Host: hostname(), PID: os.Getpid(), Identity: s.options.Identity, Reason: reason, Since: time.Now().UTC()}
}

// String is the text form, JSON in one line.
func (h Holder) String() string {
	text, err := json.Marshal(h)
	if err != nil {
		panic("recipes: holder does not marshal: " + err.Error())
	}
	return string(text)
}

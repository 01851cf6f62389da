package recipes

import (
	"encoding/json"
	"os"
	"time"
)

// Holder is the value of a queue entry: who waits or holds, for people to read. Nothing depends on it.
type Holder struct {
	Host     string    `json:"host"`
	PID      int       `json:"pid"`
	Identity string    `json:"identity"`
	Reason   string    `json:"reason,omitempty"`
	Since    time.Time `json:"since"` // when it entered the queue, by the wall clock of Host
}

// holder is the entry value of an attempt that begins now.
func (s *Session) holder(reason string) string {
	value, err := json.Marshal(Holder{
		Host: hostname(), PID: os.Getpid(), Identity: s.options.Identity, Reason: reason, Since: time.Now().UTC(),
	})
	if err != nil {
		panic("recipes: holder metadata does not marshal: " + err.Error())
	}
	return string(value)
}

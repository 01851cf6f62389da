// Package history judges locks, semaphores and elections by what the store did: the
// recorded changes of a run are replayed, and every revision must keep the rules.
// What a program believed comes into it by what it wrote in that belief. The layout
// of the keys is that of package recipes.
package history

import (
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Event is one change of one key.
type Event struct {
	Revision   int64
	Key, Value string
	Created    int64 // create revision of the key; 0 when deleted
	Lease      int64
	Deleted    bool
}

// EventOf is what a watch reported.
func EventOf(ev *clientv3.Event) Event {
	return Event{
		Revision: ev.Kv.ModRevision, Key: string(ev.Kv.Key), Value: string(ev.Kv.Value),
		Created: ev.Kv.CreateRevision, Lease: ev.Kv.Lease, Deleted: ev.Type == clientv3.EventTypeDelete,
	}
}

// findings gathers what is wrong.
type findings []string

func (f *findings) add(revision int64, format string, args ...any) {
	*f = append(*f, fmt.Sprintf("revision %d: ", revision)+fmt.Sprintf(format, args...))
}

// revisions cuts events into those of one revision each.
func revisions(events []Event) (groups [][]Event) {
	for start, i := 0, 1; i <= len(events); i++ {
		if i == len(events) || events[i].Revision != events[start].Revision {
			groups = append(groups, events[start:i:i])
			start = i
		}
	}
	return groups
}

// Complete returns what is wrong with a history that must hold every revision from its
// first to its last: without that, no other check proves anything.
func Complete(events []Event) []string {
	var wrong findings
	for i := 1; i < len(events); i++ {
		if last, now := events[i-1].Revision, events[i].Revision; now != last && now != last+1 {
			wrong.add(now, "follows %d", last)
		}
	}
	return wrong
}

// attempt is the key of an attempt below a directory, as opposed to what is put below
// that key again.
func attempt(key, dir string) (id string, ok bool) {
	id, ok = strings.CutPrefix(key, dir)
	return id, ok && !strings.Contains(id, "/")
}

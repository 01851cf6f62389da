package history

import (
	"strings"
	"testing"
)

// story tells a history in short: each string is one revision, of changes "key=value" and
// "-key" with " + " between them; a key "key@7" is put with lease 7, and the value "#0-2" is a holder of these slots.
func story(revisions ...string) (events []Event) {
	created := map[string]int64{}
	for i, changes := range revisions {
		revision := int64(i + 2)
		for change := range strings.SplitSeq(changes, " + ") {
			ev := Event{Revision: revision}
			if key, deleted := strings.CutPrefix(change, "-"); deleted {
				ev.Key, ev.Deleted = key, true
				delete(created, key)
			} else {
				ev.Key, ev.Value, _ = strings.Cut(change, "=")
				if slots, ok := strings.CutPrefix(ev.Value, "#"); ok {
					ev.Value = `{"slots":"` + slots + `"}`
				}
				if key, lease, ok := strings.Cut(ev.Key, "@"); ok {
					ev.Key, ev.Lease = key, int64(lease[0]-'0')
				}
				if created[ev.Key] == 0 {
					created[ev.Key] = revision
				}
				ev.Created = created[ev.Key]
			}
			events = append(events, ev)
		}
	}
	return events
}

// judgement is a history and what the check must say of it, "" for nothing.
type judgement struct {
	events []Event
	want   string
}

func judge(t *testing.T, check func([]Event) []string, cases map[string]judgement) {
	t.Helper()
	for what, c := range cases {
		got := strings.Join(check(c.events), "; ")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: the check says %q, want %q", what, got, c.want)
		}
	}
}

func TestComplete(t *testing.T) {
	judge(t, Complete, map[string]judgement{
		"nothing":           {nil, ""},
		"every revision":    {story("a=", "b= + c=", "-a"), ""},
		"a missing one":     {[]Event{{Revision: 2}, {Revision: 4}}, "revision 4: follows 2"},
		"out of order":      {[]Event{{Revision: 3}, {Revision: 2}}, "revision 2: follows 3"},
		"one in two pieces": {[]Event{{Revision: 2}, {Revision: 2}, {Revision: 3}}, ""},
	})
}

func TestLock(t *testing.T) {
	judge(t, Lock{Queue: "l/q/", Visits: "v"}.Check, map[string]judgement{
		"in order": {story("l/q/w/a=", "l/q/w/b=", "v=enter l/q/w/a", "v=leave l/q/w/a", "-l/q/w/a",
			"v=enter l/q/w/b", "v=leave l/q/w/b", "-l/q/w/b"), ""},
		"two inside": {story("l/q/w/a=", "l/q/w/b=", "v=enter l/q/w/a", "-l/q/w/a", "v=enter l/q/w/b", "-l/q/w/b"),
			"enters beside"},
		"out of turn":          {story("l/q/w/a=", "l/q/w/b=", "v=enter l/q/w/b"), "not first"},
		"after its end":        {story("l/q/w/a=", "-l/q/w/a", "v=enter l/q/w/a"), "not in the queue"},
		"in again by the name": {story("l/q/w/a=", "l/q/w/b=", "-l/q/w/a", "l/q/w/a=", "v=enter l/q/w/a"), "not first"},
		"the same token":       {story("l/q/w/a=", "v=enter l/q/w/a", "v=leave l/q/w/a", "v=enter l/q/w/a"), "token 2 of l/q/w/a after 2"},
		"leaves unseen":        {story("l/q/w/a=", "v=leave l/q/w/a"), "not inside"},
		"an entry forever":     {story("l/q/w/a="), "for ever: l/q/w/a"},
		"readers together": {story("l/q/r/a=", "l/q/r/b=", "v=enter l/q/r/b", "v=enter l/q/r/a", "v=leave l/q/r/b",
			"v=leave l/q/r/a", "-l/q/r/a", "-l/q/r/b"), ""},
		"a reader beside a writer": {story("l/q/w/a=", "v=enter l/q/w/a", "l/q/r/b=", "v=enter l/q/r/b"), "l/q/r/b enters beside l/q/w/a"},
		"a writer beside a reader": {story("l/q/r/a=", "l/q/w/b=", "v=enter l/q/r/a", "v=enter l/q/w/b"), "not first: l/q/r/a"},
		"a reader passes a writer": {story("l/q/r/a=", "l/q/w/b=", "l/q/r/c=", "v=enter l/q/r/a", "v=enter l/q/r/c"), "not first: l/q/w/b"},
		"a writer becomes a reader": {story("l/q/w/a= + l/q/r/a=", "l/q/r/b=", "v=enter l/q/w/a", "v=leave l/q/w/a", "-l/q/w/a",
			"v=enter l/q/r/a", "v=enter l/q/r/b", "v=leave l/q/r/a", "v=leave l/q/r/b", "-l/q/r/a + -l/q/r/b"), ""},
		"a reader becomes a writer": {story("l/q/r/a= + l/q/r/a/d=", "v=enter l/q/r/a", "l/q/w/a=", "v=enter l/q/w/a", "v=leave l/q/w/a",
			"v=leave l/q/r/a", "-l/q/r/a + -l/q/r/a/d + -l/q/w/a"), ""},
		"a delay holds it": {story("l/q/w/a= + l/q/w/a/d=", "l/q/w/b=", "-l/q/w/a", "v=enter l/q/w/b"), "not first: l/q/w/a/d"},
		"a question does not": {story("l/q/w/a=", "l/q/w/a/a=", "l/q/w/b=", "-l/q/w/a", "v=enter l/q/w/b", "v=leave l/q/w/b",
			"-l/q/w/b + -l/q/w/a/a"), ""},
	})
	judge(t, Lock{Queue: "l/q/", Visits: "v", Guarded: true}.Check, map[string]judgement{
		"a visit ends with its key": {story("l/q/w/a=", "l/q/w/b=", "v=enter l/q/w/a", "-l/q/w/a", "v=enter l/q/w/b", "-l/q/w/b"), ""},
	})
}

func TestSemaphore(t *testing.T) {
	judge(t, Semaphore{Path: "s"}.Check, map[string]judgement{
		"at once and in turn": {story("s/limit=2", "s/h/a=#0-1", "s/q/b=", "s/q/c=", "-s/h/a", "s/h/b=#0 + -s/q/b", "s/h/c=#1 + -s/q/c",
			"-s/h/b", "-s/h/c"), ""},
		"beyond the limit":    {story("s/limit=2", "s/h/a=#0-1", "s/h/b=#2"), "b is granted slots [{2 2}], which makes 3 of 2"},
		"somebody's slot":     {story("s/limit=2", "s/h/a=#0", "s/h/b=#0"), "and a has"},
		"out of turn":         {story("s/limit=1", "s/h/x=#0", "s/q/a=", "s/q/b=", "-s/h/x", "s/h/b=#0 + -s/q/b"), "b is granted before a"},
		"past who waits":      {story("s/limit=1", "s/q/a=", "s/h/b=#0"), "b is granted before a"},
		"granted and waiting": {story("s/limit=1", "s/q/a=", "s/h/a=#0"), "waits on"},
		"shrunk below":        {story("s/limit=2", "s/h/a=#0", "s/h/b=#1", "s/limit=1", "-s/h/a", "-s/h/b"), ""},
		"granted after that":  {story("s/limit=2", "s/h/a=#0", "s/h/b=#1", "s/limit=1", "-s/h/a", "s/h/c=#0"), "makes 2 of 1"},
		"not a slot":          {story("s/limit=2", "s/h/a=#x"), "no slots"},
		"held forever":        {story("s/limit=2", "s/h/a=#0"), "holding for ever: a"},
		"waiting forever":     {story("s/limit=2", "s/q/a="), "waiting for ever: a"},
	})
}

func TestElection(t *testing.T) {
	judge(t, Election{Path: "e"}.Check, map[string]judgement{
		"in turn":              {story("e/h/a=", "e/q/b=", "e/q/c=", "e/h/a=other", "-e/h/a", "e/h/b= + -e/q/b", "-e/h/b", "e/h/c= + -e/q/c", "-e/h/c"), ""},
		"a transfer":           {story("e/h/a=", "e/q/b=", "e/q/c=", "-e/h/a + e/h/c= + -e/q/c", "-e/h/c", "e/h/b= + -e/q/b", "-e/h/b"), ""},
		"two leaders":          {story("e/h/a=", "e/h/b="), "b leads beside others: a, b"},
		"out of turn":          {story("e/q/b=", "e/q/c=", "e/h/c= + -e/q/c"), "c is granted before b"},
		"a transfer to nobody": {story("e/h/a=", "e/q/b=", "-e/h/a + e/h/c="), "c is granted before b"},
		"leading forever":      {story("e/h/a="), "holding for ever: a"},
	})
}

func TestLeases(t *testing.T) {
	judge(t, Leases{Marks: "m/"}.Check, map[string]judgement{
		"ends with all of its keys": {story("m/1@1=", "q/a@1=", "q/b@2=", "-m/1 + -q/a", "-q/b"), ""},
		"a key outlives it":         {story("m/1@1=", "q/a@1=", "-m/1"), "q/a outlives lease 0000000000000001"},
		"a key on a dead lease":     {story("m/1@1=", "-m/1", "q/a@1="), "q/a is put with lease 0000000000000001"},
		"a key without a lease":     {story("m/1@1=", "-m/1", "q/a="), ""},
	})
}

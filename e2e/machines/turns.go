package machines

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Outage is a time in which a service of one machine did not serve, by the journal of
// the machine. All machines have the same clock.
type Outage struct {
	Machine  string
	From, To time.Time // To is zero if it has not come back
}

// Turns is what happened to a service that its machines restart one after another.
type Turns struct {
	Names   map[string]string // of the machines, by machine id
	Group   string            // whose slots the restarts take
	Outages []Outage
	Changes []Change // of the store, all of them, by rising revision
}

// outages reads from a service's journal, in the form short-iso-precise, when systemd
// stopped it or found it dead, and when it was started again.
func outages(machine, journal string) (out []Outage, err error) {
	down := true // before its first start
	for lines := bufio.NewScanner(strings.NewReader(journal)); lines.Scan(); {
		stamp, rest, _ := strings.Cut(lines.Text(), " ")
		_, said, bySystemd := strings.Cut(rest, " systemd[1]: ")
		if !bySystemd {
			continue
		}
		at, err := time.Parse("2006-01-02T15:04:05.999999-0700", stamp)
		if err != nil {
			return nil, fmt.Errorf("machines: journal of %s: %w", machine, err)
		}
		switch {
		case strings.HasPrefix(said, "Started "):
			if down && len(out) > 0 {
				out[len(out)-1].To = at
			}
			down = false
		case !down && (strings.HasPrefix(said, "Stopping ") || strings.Contains(said, ": Failed with result ")):
			out, down = append(out, Outage{Machine: machine, From: at}), true
		}
	}
	return out, nil
}

// tenure is a time in which a machine held a slot: at least that, by what it wrote
// into the history, from before it was granted until after it was given back.
type tenure struct {
	from, to time.Time // to is zero while it is held
}

func (t tenure) covers(o Outage) bool {
	return !o.From.Before(t.from) && (t.to.IsZero() || !o.To.IsZero() && !o.To.After(t.to))
}

// Judge returns what is wrong: two machines that held a slot at once, or two whose
// service was down at once, or a restart without a slot.
func (t *Turns) Judge() []string {
	tenures, wrong := t.judgeSlots()
	outages := slices.Clone(t.Outages)
	slices.SortFunc(outages, func(a, b Outage) int { return a.From.Compare(b.From) })
	for i, o := range outages {
		at := o.From.Format("15:04:05.000")
		for _, before := range outages[:i] {
			if before.Machine != o.Machine && (before.To.IsZero() || before.To.After(o.From)) {
				wrong = append(wrong, fmt.Sprintf("down at %s: %s and %s", at, before.Machine, o.Machine))
			}
		}
		if !slices.ContainsFunc(tenures[o.Machine], func(t tenure) bool { return t.covers(o) }) {
			wrong = append(wrong, fmt.Sprintf("%s went down at %s without a slot, or came back after it", o.Machine, at))
		}
	}
	return wrong
}

// judgeSlots follows the group's holders, and the history of when they began and ended.
func (t *Turns) judgeSlots() (tenures map[string][]tenure, wrong []string) {
	held := map[string]bool{}
	tenures = map[string][]tenure{}
	for _, c := range t.Changes {
		switch {
		case strings.Contains(c.Key, "/holders/"+t.Group+"/"):
			name := t.name(c.Key[strings.LastIndexByte(c.Key, '/')+1:])
			if c.Deleted {
				delete(held, name)
				continue
			}
			if held[name] = true; len(held) > 1 {
				wrong = append(wrong, fmt.Sprintf("slots at revision %d: held by %s", c.Revision, strings.Join(slices.Sorted(maps.Keys(held)), " and ")))
			}
		case strings.Contains(c.Key, "/history/"+t.Group+"/") && !c.Deleted:
			if err := t.follow(tenures, c.Value); err != nil {
				wrong = append(wrong, fmt.Sprintf("history at revision %d: %v", c.Revision, err))
			}
		}
	}
	return tenures, wrong
}

// follow takes the next event of the group's history.
func (t *Turns) follow(tenures map[string][]tenure, value string) error {
	var event struct {
		Time time.Time `json:"time"`
		Kind string    `json:"event"`
		ID   string    `json:"id"`
	}
	if err := json.Unmarshal([]byte(value), &event); err != nil {
		return fmt.Errorf("no event: %w", err)
	}
	name := t.name(event.ID)
	switch of := tenures[name]; event.Kind {
	case "granted":
		tenures[name] = append(of, tenure{from: event.Time})
	case "returned", "released", "unlocked":
		if len(of) > 0 {
			of[len(of)-1].to = event.Time
		}
	}
	return nil
}

func (t *Turns) name(id string) string {
	if name, ok := t.Names[id]; ok {
		return name
	}
	return id
}

package slots

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Rules are what grants in a group are judged by. They are pure: what the store
// says comes in as arguments.
type Rules struct {
	Cluster         Policy
	ClusterStanding Standing
	Group           Policy
	Standing        Standing
}

// Refuses returns why want gets no slot beside the holders, who are those of all
// groups; nil if it gets one. The error is a [*FullError] or a [*RefusedError].
//
// In this order: neither the cluster nor the group is paused; of the members of
// the store at most one holds a slot; the group's limit, the cluster's limit, and
// for both how many machines of one zone, and how many zones. A machine without
// a zone counts in a zone of its own that has no name.
func (r *Rules) Refuses(holders []Record, want Record) error {
	for _, s := range []struct {
		what  string
		pause *Pause
	}{{"the cluster", r.ClusterStanding.Pause}, {"the group", r.Standing.Pause}} {
		if s.pause != nil {
			return &RefusedError{RefusedPaused, fmt.Sprintf("%s is paused by %s since %s: %s", s.what, s.pause.By, s.pause.Since.UTC().Format(time.RFC3339), s.pause.Reason)}
		}
	}
	if err := refusesMember(holders, want); err != nil {
		return err
	}
	own := slices.DeleteFunc(slices.Clone(holders), func(h Record) bool { return h.Group != want.Group })
	if limit := r.Group.MaxOr(DefaultMax); len(own) >= limit {
		return &FullError{Held: len(own), Max: limit, By: namesOf(own)}
	}
	if limit := r.Cluster.MaxOr(MaxSlots); len(holders) >= limit {
		return &RefusedError{RefusedCluster, fmt.Sprintf("%d machines of all groups hold a slot, at most %d may: %s", len(holders), limit, list(holders))}
	}
	if err := r.Group.refusesZone("group", own, want.Zone); err != nil {
		return err
	}
	return r.Cluster.refusesZone("cluster", holders, want.Zone)
}

// refusesMember keeps two members of the store from being down at once.
func refusesMember(holders []Record, want Record) error {
	if want.Member == "" {
		return nil
	}
	for _, h := range holders {
		if h.Member != "" {
			return &RefusedError{RefusedMember, fmt.Sprintf("%s is a member of the store as this machine is, and holds a slot", h.Name())}
		}
	}
	return nil
}

func (p *Policy) refusesZone(what string, holders []Record, zone string) error {
	zones := map[string][]Record{}
	for _, h := range holders {
		zones[h.Zone] = append(zones[h.Zone], h)
	}
	in := zones[zone]
	if p.PerZone > 0 && len(in) >= p.PerZone {
		return &RefusedError{RefusedZone, fmt.Sprintf("%d machines of the %s hold a slot in zone %q, at most %d may: %s", len(in), what, zone, p.PerZone, list(in))}
	}
	if p.Zones > 0 && len(in) == 0 && len(zones) >= p.Zones {
		return &RefusedError{RefusedZone, fmt.Sprintf("machines of the %s hold slots in %d other zones, at most %d may be down at once: %s", what, len(zones), p.Zones, list(holders))}
	}
	return nil
}

// Turn returns why it is not want's turn, nil if it is: [Rules.Refuses] beside
// the holders and all those ahead in the queue whom nothing keeps from going
// first. Those whom something keeps do not hold up others: a machine waits for
// its zone, and those of other zones pass it.
//
// So a machine can wait though slots come free, as long as others are down
// beside whom it may not be: see "Who may wait for long" in docs/REBOOTS.md.
func (r *Rules) Turn(holders, ahead []Record, want Record, now time.Time) error {
	var refused error
	r.Turns(holders, append(slices.Clone(ahead), want), now, func(_ int, err error) bool {
		refused = err
		return true
	})
	return refused
}

// Turns calls visit for each machine of a queue, which is in its order, with what
// [Rules.Turn] says of it beside the holders and those before it, until visit
// returns false. It goes through the queue once.
//
// Who holds a slot already does not go before others once more, and who is in the
// queue twice is not before itself: a place in the queue may be left over.
func (r *Rules) Turns(holders, queue []Record, now time.Time, visit func(i int, refused error) bool) {
	var first []Record // those ahead who go first
	ahead := make([]Record, 0, len(queue))
	known := map[machine]bool{} // those that hold a slot or are ahead
	for _, h := range holders {
		known[h.machine()] = true
	}
	for i, w := range queue {
		if known[w.machine()] {
			if !visit(i, r.turn(holders, without(first, w), without(ahead, w), w, now)) {
				return
			}
			continue
		}
		refused := r.turn(holders, first, ahead, w, now)
		if !visit(i, refused) {
			return
		}
		known[w.machine()] = true
		ahead = append(ahead, w)
		if refused == nil {
			first = append(first, w)
		}
	}
}

// turn is Turn of want, where first are those ahead who go first.
func (r *Rules) turn(holders, first, ahead []Record, want Record, now time.Time) error {
	if err := r.Refuses(holders, want); err != nil {
		return err
	}
	if err := r.refusesStage(holders, ahead, want, now); err != nil {
		return err
	}
	if len(first) > 0 && r.Refuses(slices.Concat(holders, first), want) != nil {
		return &RefusedError{RefusedQueue, "it is the turn of " + list(first)}
	}
	return nil
}

// machine is who a record is of, in a fleet.
type machine struct{ group, id string }

func (r Record) machine() machine { return machine{r.Group, r.ID} }

func without(records []Record, other Record) []Record {
	return slices.DeleteFunc(slices.Clone(records), func(r Record) bool { return r.machine() == other.machine() })
}

// refusesStage lets the canaries go first: a machine waits while one of an earlier
// stage wants to go or is on its way, until the last of them has run for the
// soak time, and as long after its own wish, because a canary may learn later
// than it that a reboot is wanted.
func (r *Rules) refusesStage(holders, ahead []Record, want Record, now time.Time) error {
	if want.Stage == 0 {
		return nil
	}
	for _, others := range [][]Record{holders, ahead} {
		for i := range others {
			o := &others[i]
			if o.Group == want.Group && o.Stage < want.Stage {
				return &RefusedError{RefusedStage, fmt.Sprintf("%s of stage %d goes before stage %d", o.Name(), o.Stage, want.Stage)}
			}
		}
	}
	begin, why := want.Since, "since this machine wants to reboot"
	for stage, at := range r.Standing.Returned {
		if stage < want.Stage && at.After(begin) {
			begin, why = at, fmt.Sprintf("since a machine of stage %d came back", stage)
		}
	}
	if end := begin.Add(r.Group.soak()); now.Before(end) {
		return &RefusedError{RefusedStage, fmt.Sprintf("stage %d waits %v %s: until %s", want.Stage, r.Group.soak(), why, end.UTC().Format(time.RFC3339))}
	}
	return nil
}

func namesOf(records []Record) (names []string) {
	for _, r := range records {
		names = append(names, r.Name())
	}
	return names
}

// mostNames bounds how many machines a sentence names.
const mostNames = 5

func list(records []Record) string {
	names := namesOf(records)
	if len(names) > mostNames {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:mostNames], ", "), len(names)-mostNames)
	}
	return strings.Join(names, ", ")
}

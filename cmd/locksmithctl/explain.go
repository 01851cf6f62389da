package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coordd/coordd/locksmith/line"
	"github.com/coordd/coordd/locksmith/plan"
	"github.com/coordd/coordd/locksmith/slots"
)

// explained is how far back explain looks in the history.
const explained = 200

func newExplainCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "explain HOST",
		Short: "Say where one machine is and why it does not go on",
		Long: `explain says of one machine whether it wants to reboot, where it stands, what it waits
for, and what has happened to it. HOST is a hostname, a machine id, or the beginning of one.`,
		Example: `  locksmithctl explain web-7
  locksmithctl explain 4f2e -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.withFleet(cmd, "explaining", func(ctx context.Context, fleet *slots.Fleet) error {
				snapshot, err := fleet.Snapshot(ctx)
				if err != nil {
					return err
				}
				g, err := fleet.Group(s.groupName())
				if err != nil {
					return err
				}
				events, err := g.History(ctx, explained)
				if err != nil {
					return err
				}
				m, err := oneMachine(plan.Of(snapshot, g.Name(), time.Now()), events, args[0])
				if err != nil {
					return err
				}
				events = eventsOf(events, m.ID)
				if s.json() {
					return printJSON(cmd.OutOrStdout(), struct {
						plan.Machine
						History []slots.Event `json:"history"`
					}{*m, events})
				}
				return printExplanation(cmd.OutOrStdout(), g.Name(), m, snapshot.Damaged, events)
			})
		},
	}
}

// oneMachine finds the machine that name means, also one that is known from the
// history alone.
func oneMachine(machines []plan.Machine, events []slots.Event, name string) (*plan.Machine, error) {
	known := map[string]bool{}
	for _, m := range machines {
		known[m.ID] = true
	}
	for _, e := range events {
		if e.ID != "" && !known[e.ID] {
			known[e.ID] = true
			machines = append(machines, plan.Machine{ID: e.ID, Hostname: e.Hostname, Standing: plan.Absent, Why: []string{"its agent is not alive"}})
		}
	}
	switch found := plan.Find(machines, name); len(found) {
	case 0:
		return nil, fmt.Errorf("no machine of the group is called %q", name)
	case 1:
		return &found[0], nil
	default:
		var names []string
		for _, m := range found {
			names = append(names, m.Name()+" ("+m.ID+")")
		}
		return nil, fmt.Errorf("%q may be any of %s", name, strings.Join(names, ", "))
	}
}

func eventsOf(events []slots.Event, id string) []slots.Event {
	own := []slots.Event{}
	for _, e := range events {
		if e.ID == id {
			own = append(own, e)
		}
	}
	return own
}

// meanings say what a standing is.
var meanings = map[plan.Standing]string{
	plan.Holds:   "holds a slot",
	plan.Next:    "goes next: nothing stands against it",
	plan.Waits:   "waits in the queue",
	plan.Kept:    "wants to reboot, but does not ask for a slot yet",
	plan.Settled: "does not want to reboot",
	plan.Absent:  "is known from the history alone",
}

func printExplanation(w io.Writer, group string, m *plan.Machine, damaged []*slots.DamagedError, events []slots.Event) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of group %s %s.\n", line.Printable(m.Name()), group, meanings[m.Standing])
	for _, field := range []struct{ name, text string }{
		{"Machine id", m.ID}, {"Zone", m.Zone}, {"Agent", m.State}, {"Phase", string(m.Phase)}, {"Wanted", m.Wanted},
	} {
		if field.text != "" {
			fmt.Fprintf(&b, "  %-11s %s\n", field.name+":", line.Printable(field.text))
		}
	}
	if !m.Since.IsZero() {
		fmt.Fprintf(&b, "  %-11s %s (%s)\n", "Since:", m.Since.Local().Format(time.DateTime), age(m.Since))
	}
	for _, why := range m.Why {
		fmt.Fprintf(&b, "  %-11s %s\n", "Because:", line.Printable(why))
	}
	if m.Holder != nil && m.Holder.Failed != "" {
		fmt.Fprintf(&b, "It keeps its slot until its health checks pass, or 'locksmithctl unlock %s'.\n", m.ID)
	}
	printDamage(&b, damaged)
	if len(events) > 0 {
		b.WriteString("\n")
		printEvents(&b, events)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/coordd/coordd/locksmith/line"
	"github.com/coordd/coordd/locksmith/plan"
	"github.com/coordd/coordd/locksmith/slots"
)

func newPlanCommand(s *session) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show which machines are down, who goes next, who waits and why",
		Long: `plan shows the machines of a group in the order in which they go: those that hold a slot,
the queue, and those that want to reboot but whose window or blockers keep them from asking
for a slot. For each it says what it waits for. Machines that want nothing are counted; --all
names them.`,
		Example: `  locksmithctl plan
  locksmithctl -group web plan --all -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.withFleet(cmd, "making the plan", func(ctx context.Context, fleet *slots.Fleet) error {
				snapshot, err := fleet.Snapshot(ctx)
				if err != nil {
					return err
				}
				machines := plan.Of(snapshot, s.groupName(), time.Now())
				if s.json() {
					return printJSON(cmd.OutOrStdout(), planJSON(snapshot, s.groupName(), machines))
				}
				return printPlan(cmd.OutOrStdout(), snapshot, s.groupName(), machines, all)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "name also the machines that want nothing")
	return cmd
}

func planJSON(snapshot *slots.Snapshot, group string, machines []plan.Machine) any {
	rules := snapshot.Rules(group)
	if machines == nil {
		machines = []plan.Machine{}
	}
	return struct {
		Group    string         `json:"group"`
		Policy   slots.Policy   `json:"policy"`
		Standing slots.Standing `json:"standing"`
		Cluster  struct {
			Policy   slots.Policy   `json:"policy"`
			Standing slots.Standing `json:"standing"`
		} `json:"cluster"`
		Machines []plan.Machine        `json:"machines"`
		Damaged  []*slots.DamagedError `json:"damaged,omitempty"`
		Revision int64                 `json:"revision"`
	}{
		Damaged: snapshot.Damaged,
		Group:   group, Policy: rules.Group, Standing: rules.Standing, Machines: machines, Revision: snapshot.Revision,
		Cluster: struct {
			Policy   slots.Policy   `json:"policy"`
			Standing slots.Standing `json:"standing"`
		}{rules.Cluster, rules.ClusterStanding},
	}
}

// printPlan is the plan for people.
func printPlan(w io.Writer, snapshot *slots.Snapshot, group string, machines []plan.Machine, all bool) error {
	rules := snapshot.Rules(group)
	var b strings.Builder
	count := map[plan.Standing]int{}
	for _, m := range machines {
		count[m.Standing]++
	}
	fmt.Fprintf(&b, "Group %s: %d of %d slots taken, %d waiting, %d kept from asking, %d settled\n", group,
		count[plan.Holds], rules.Group.MaxOr(slots.DefaultMax), count[plan.Next]+count[plan.Waits], count[plan.Kept], count[plan.Settled])
	for _, s := range []struct {
		what  string
		pause *slots.Pause
	}{{"The cluster", rules.ClusterStanding.Pause}, {"The group", rules.Standing.Pause}} {
		if p := s.pause; p != nil {
			fmt.Fprintf(&b, "%s is PAUSED by %s since %s: %s\n", s.what, line.Printable(p.By), p.Since.Local().Format(time.DateTime), line.Printable(p.Reason))
		}
	}
	printDamage(&b, snapshot.Damaged)
	if err := printMachines(&b, machines, all); err != nil {
		return err
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func printMachines(w io.Writer, machines []plan.Machine, all bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	header := "\nMACHINE\tZONE\tSTANDING\tSINCE\tWHY\n"
	for _, m := range machines {
		if m.Standing == plan.Settled && len(m.Why) == 0 && !all {
			continue
		}
		why := strings.Join(m.Why, "; ")
		if why == "" {
			why = m.Wanted
		}
		fmt.Fprintf(t, "%s%s\t%s\t%s\t%s\t%s\n", header, dash(m.Name()), dash(m.Zone), standing(m), age(m.Since), dash(why))
		header = ""
	}
	return t.Flush()
}

// standing names the phase beside that a machine holds a slot, for there is more than one.
func standing(m plan.Machine) string {
	if m.Standing == plan.Holds {
		return "holds (" + string(m.Phase) + ")"
	}
	return string(m.Standing)
}

// mostDamage bounds how many records a plan complains of.
const mostDamage = 5

func printDamage(w io.Writer, damaged []*slots.DamagedError) {
	for _, d := range damaged[:min(len(damaged), mostDamage)] {
		fmt.Fprintf(w, "CANNOT READ %s: %s\n", d.Key, line.Printable(d.Why))
		if d.ID != "" {
			fmt.Fprintf(w, "  No slot is granted beside it: 'locksmithctl -group %s unlock --force %s' removes it.\n", d.Group, d.ID)
		}
	}
	if more := len(damaged) - mostDamage; more > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
}

// dash is a cell of a table.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return line.Printable(s)
}

func age(since time.Time) string {
	if since.IsZero() {
		return "-"
	}
	return time.Since(since).Truncate(time.Second).String()
}

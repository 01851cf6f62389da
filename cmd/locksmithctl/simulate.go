package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/coordd/coordd/locksmith/plan"
	"github.com/coordd/coordd/locksmith/slots"
)

const (
	maxFleetBytes    = 16 << 20
	maxFleetMachines = 10_000
)

func newSimulateCommand(s *session) *cobra.Command {
	flags := &policyFlags{}
	var fleetFile string
	var each time.Duration
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Show what a policy would do if all machines wanted to reboot now",
		Long: `simulate lets every machine of the group want to reboot at the same moment and shows who
would go when: under the policy of the group, changed by the flags, each machine being down
for the time --each. Windows, blockers and failures are left out. Nothing is changed.

The machines are those whose agents are alive or, with --fleet, those of a file, for which no
store is asked: a YAML or JSON list of machines with id, and if you like hostname, zone,
stage, priority and member.`,
		Example: `  locksmithctl simulate --max 3 --per-zone 1
  locksmithctl simulate --fleet machines.yaml --zones 1 --max 10 --each 4m`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if each <= 0 {
				return &failure{text: fmt.Sprintf("--each %v: it must be above 0.", each)}
			}
			rules, machines, err := s.simulated(cmd, fleetFile)
			if err != nil {
				return err
			}
			flags.apply(cmd.Flags(), &rules.Group)
			if err := rules.Group.Validate(); err != nil {
				return &failure{text: "Error simulating: " + err.Error()}
			}
			if len(machines) == 0 {
				return &failure{text: "No agent of group " + s.groupName() + " is alive.", hint: "--fleet FILE simulates machines of a file."}
			}
			rollout := plan.Simulate(*rules, machines, each, time.Now().UTC())
			if s.json() {
				return printJSON(cmd.OutOrStdout(), rollout)
			}
			return printRollout(cmd.OutOrStdout(), rollout, len(machines))
		},
	}
	flags.bind(cmd.Flags())
	cmd.Flags().StringVar(&fleetFile, "fleet", "", "file of machines, - for standard input")
	cmd.Flags().DurationVar(&each, "each", 5*time.Minute, "how long a machine is down, until its slot is free again")
	return cmd
}

// simulated are the rules and machines to begin with.
func (s *session) simulated(cmd *cobra.Command, fleetFile string) (rules *slots.Rules, machines []slots.Record, err error) {
	if fleetFile != "" {
		machines, err := readFleet(cmd.InOrStdin(), fleetFile, s.groupName())
		return &slots.Rules{}, machines, err
	}
	err = s.withFleet(cmd, "simulating", func(ctx context.Context, fleet *slots.Fleet) error {
		snapshot, err := fleet.Snapshot(ctx)
		if err != nil {
			return err
		}
		rules = snapshot.Rules(s.groupName())
		if g := snapshot.Groups[s.groupName()]; g != nil {
			for _, a := range g.Agents {
				machines = append(machines, slots.Record{ID: a.ID, Group: a.Group, Hostname: a.Hostname, Zone: a.Zone, Stage: a.Stage, Priority: a.Priority, Member: a.Member})
			}
		}
		return nil
	})
	return rules, machines, err
}

func readFleet(stdin io.Reader, name, group string) ([]slots.Record, error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, &failure{text: "Error reading the fleet: " + err.Error()}
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxFleetBytes+1))
	if err == nil && len(b) > maxFleetBytes {
		err = fmt.Errorf("it is larger than %d bytes", maxFleetBytes)
	}
	var machines []slots.Record
	if err == nil {
		err = yaml.UnmarshalStrict(b, &machines)
	}
	if err == nil && len(machines) > maxFleetMachines {
		err = fmt.Errorf("%d machines, at most %d are simulated", len(machines), maxFleetMachines)
	}
	known := map[string]bool{}
	for i := 0; err == nil && i < len(machines); i++ {
		machines[i].Group = group
		if err = machines[i].Check(); err == nil && known[machines[i].ID] {
			err = fmt.Errorf("machine %q is there twice", machines[i].ID)
		}
		known[machines[i].ID] = true
	}
	if err != nil {
		return nil, &failure{text: fmt.Sprintf("Error reading the fleet: %s: %v", name, err)}
	}
	return machines, nil
}

func printRollout(w io.Writer, r *plan.Rollout, machines int) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	most := 0
	fmt.Fprintln(t, "AFTER\tDOWN\tGO\tBACK")
	for _, s := range r.Steps {
		most = max(most, s.Down)
		fmt.Fprintf(t, "%v\t%d\t%s\t%s\n", s.After, s.Down, dash(strings.Join(s.Goes, " ")), dash(strings.Join(s.Back, " ")))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%d of %d machines reboot in %v, at most %d down at once.\n", machines-len(r.Never), machines, r.Took, most)
	for _, m := range r.Never {
		fmt.Fprintf(w, "%s never goes: %s\n", m.Name(), strings.Join(m.Why, "; "))
	}
	return nil
}

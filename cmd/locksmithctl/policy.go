package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/coordd/coordd/locksmith/slots"
)

// policyFlags are the settings of a policy on a command line.
type policyFlags struct {
	max, perZone, zones, breaker int
	deadHolder                   string
	deadAfter, soak              time.Duration
}

func (p *policyFlags) bind(f *pflag.FlagSet) {
	f.IntVar(&p.max, "max", slots.DefaultMax, "machines that may hold a slot at once; 0 stops all reboots")
	f.IntVar(&p.perZone, "per-zone", 0, "of these, machines in one zone; 0: no limit")
	f.IntVar(&p.zones, "zones", 0, "zones in which machines may be down at once; 0: no limit")
	f.StringVar(&p.deadHolder, "dead-holder", string(slots.Hold), "slot of a machine that does not come back: hold, release-after or release-if-absent")
	f.DurationVar(&p.deadAfter, "dead-after", 0, "for release-after and release-if-absent: time since the machine's last change of phase")
	f.IntVar(&p.breaker, "breaker", slots.DefaultBreaker, "failed returns in a row that pause the group; 0: never")
	f.DurationVar(&p.soak, "soak", 0, "time between the return of machines of a stage and the start of the next stage")
}

// apply changes a policy by the flags that were given.
func (p *policyFlags) apply(f *pflag.FlagSet, to *slots.Policy) {
	if f.Changed("dead-holder") {
		if to.DeadHolder = slots.DeadHolder(p.deadHolder); to.DeadHolder == slots.Hold {
			to.DeadAfterSeconds = 0
		}
	}
	for name, set := range map[string]func(){
		"max":        func() { to.Max = &p.max },
		"per-zone":   func() { to.PerZone = p.perZone },
		"zones":      func() { to.Zones = p.zones },
		"dead-after": func() { to.DeadAfterSeconds = seconds(p.deadAfter) },
		"breaker":    func() { to.Breaker = &p.breaker },
		"soak":       func() { to.SoakSeconds = seconds(p.soak) },
	} {
		if f.Changed(name) {
			set()
		}
	}
}

// seconds rounds up, so that no time becomes none.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// given reports whether any flag of a policy was given.
func (p *policyFlags) given(f *pflag.FlagSet) bool {
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	new(policyFlags).bind(own)
	given := false
	own.VisitAll(func(flag *pflag.Flag) { given = given || f.Changed(flag.Name) })
	return given
}

// governed is a group or all of them.
type governed interface {
	Policy(context.Context) (slots.Policy, error)
	Check(slots.Policy) error
	ChangePolicy(ctx context.Context, change func(*slots.Policy)) (old, changed slots.Policy, err error)
}

func newPolicyCommand(s *session) *cobra.Command {
	flags := &policyFlags{}
	var cluster bool
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Show or change what the group allows",
		Long: `policy shows what the group allows or, with flags, changes that: what no flag names stays
as it is. With --cluster it is the policy of all groups together, which knows only --max,
--per-zone and --zones.

A machine that does not come back keeps its slot under the policy hold: so one bad image stops
the rollout. release-after gives the slot on after the time --dead-after, release-if-absent
only if no agent of the machine is alive by then. Machines that came back but failed their
health checks, and slots that operators took, are kept in any case.`,
		Example: `  locksmithctl policy
  locksmithctl policy --max 3 --per-zone 1 --breaker 2
  locksmithctl policy --dead-holder release-if-absent --dead-after 2h
  locksmithctl policy --cluster --zones 1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.withFleet(cmd, "setting the policy", func(ctx context.Context, fleet *slots.Fleet) error {
				var what governed = fleet
				if !cluster {
					g, err := fleet.Group(s.groupName())
					if err != nil {
						return err
					}
					what = g
				}
				p, err := s.policyOf(ctx, what, cmd.Flags(), flags)
				if err != nil {
					return err
				}
				if s.json() {
					return printJSON(cmd.OutOrStdout(), p)
				}
				return printPolicy(cmd.OutOrStdout(), p, cluster)
			})
		},
	}
	flags.bind(cmd.Flags())
	cmd.Flags().BoolVar(&cluster, "cluster", false, "the policy of all groups together")
	return cmd
}

// policyOf changes the policy if the flags say so and returns what it is, or with
// --dry-run what it would be.
func (s *session) policyOf(ctx context.Context, what governed, f *pflag.FlagSet, flags *policyFlags) (slots.Policy, error) {
	if flags.given(f) && !s.dryRun {
		_, p, err := what.ChangePolicy(ctx, func(p *slots.Policy) { flags.apply(f, p) })
		return p, err
	}
	p, err := what.Policy(ctx)
	if err != nil {
		return p, err
	}
	flags.apply(f, &p)
	return p, what.Check(p)
}

func printPolicy(w io.Writer, p slots.Policy, cluster bool) error {
	count := func(n int) string {
		if n == 0 {
			return "no limit"
		}
		return fmt.Sprint(n)
	}
	limit := fmt.Sprint(p.MaxOr(slots.DefaultMax))
	if cluster && p.Max == nil {
		limit = "no limit"
	}
	lines := []string{"Machines at once:\t" + limit, "In one zone:\t" + count(p.PerZone), "Zones at once:\t" + count(p.Zones)}
	if !cluster {
		lines = append(lines, "Dead holders:\t"+deadHolders(p), "Breaker:\t"+breaker(p), "Soak between stages:\t"+(time.Duration(p.SoakSeconds)*time.Second).String())
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(lines, "\n"))
	return t.Flush()
}

func deadHolders(p slots.Policy) string {
	if p.DeadHolder == "" || p.DeadHolder == slots.Hold {
		return "hold"
	}
	return fmt.Sprintf("%s %v", p.DeadHolder, time.Duration(p.DeadAfterSeconds)*time.Second)
}

func breaker(p slots.Policy) string {
	switch n := p.BreakerOr(slots.DefaultBreaker); n {
	case 0:
		return "never pauses"
	default:
		return fmt.Sprintf("pauses after %d failed returns in a row", n)
	}
}

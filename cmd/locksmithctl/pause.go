package main

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"time"

	"github.com/spf13/cobra"

	"github.com/coordd/coordd/locksmith/slots"
)

// pausable is a group or all of them.
type pausable interface {
	Pause(context.Context, slots.Pause) error
	Resume(ctx context.Context, by string, now time.Time) error
	Standing(context.Context) (slots.Standing, error)
}

// scope is what the flags name: the group or, with --cluster, all groups.
func (s *session) scope(fleet *slots.Fleet, cluster bool) (pausable, string, error) {
	if cluster {
		return fleet, "the cluster", nil
	}
	g, err := fleet.Group(s.groupName())
	return g, "group " + s.groupName(), err
}

func newPauseCommand(s *session) *cobra.Command {
	var reason string
	var cluster bool
	cmd := &cobra.Command{
		Use:   "pause --reason WHY",
		Short: "Grant no more slots until resume",
		Long: `pause keeps machines from being granted slots. Those that have one go on: they reboot,
come back and give it back. Everybody who waits is shown the reason.`,
		Example: `  locksmithctl pause --reason 'the new kernel does not boot'
  locksmithctl pause --cluster --reason 'network maintenance'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if reason == "" {
				return &failure{text: "A reason must be given: --reason 'why nobody may reboot'."}
			}
			return s.withFleet(cmd, "pausing", func(ctx context.Context, fleet *slots.Fleet) error {
				what, name, err := s.scope(fleet, cluster)
				if err != nil {
					return err
				}
				p := slots.Pause{By: operator(), Reason: reason, Since: time.Now().UTC()}
				if s.dryRun {
					return s.say(cmd, p, "Would pause %s.\n", name)
				}
				if err := what.Pause(ctx, p); err != nil {
					return err
				}
				return s.say(cmd, p, "Paused %s.\n", name)
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for everybody who waits")
	cmd.Flags().BoolVar(&cluster, "cluster", false, "pause all groups")
	return cmd
}

func newResumeCommand(s *session) *cobra.Command {
	var cluster bool
	cmd := &cobra.Command{
		Use:   "resume",
		Short: "Grant slots again after a pause",
		Long: `resume ends a pause, whoever began it: an operator, or the circuit breaker after too many
machines did not come back well. The count of those begins anew. Machines that did not come
back well keep their slots all the same: see plan.`,
		Example: `  locksmithctl resume
  locksmithctl resume --cluster`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.withFleet(cmd, "resuming", func(ctx context.Context, fleet *slots.Fleet) error {
				what, name, err := s.scope(fleet, cluster)
				if err != nil {
					return err
				}
				was, err := what.Standing(ctx)
				if err != nil {
					return err
				}
				switch {
				case was.Pause == nil && was.Failures == 0:
					return s.say(cmd, was, "%s is not paused.\n", name)
				case s.dryRun:
					return s.say(cmd, was, "Would resume %s.\n", name)
				}
				if err := what.Resume(ctx, operator(), time.Now()); err != nil {
					return err
				}
				return s.say(cmd, was, "Resumed %s.\n", name)
			})
		},
	}
	cmd.Flags().BoolVar(&cluster, "cluster", false, "resume all groups; those that are paused themselves stay so")
	return cmd
}

// say writes a sentence for people, or the value for programs.
func (s *session) say(cmd *cobra.Command, value any, format string, args ...any) error {
	if s.json() {
		return printJSON(cmd.OutOrStdout(), value)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), format, args...)
	return err
}

// operator names who runs the command: the user and the host.
func operator() string {
	name := "uid " + fmt.Sprint(os.Getuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if sudo := os.Getenv("SUDO_USER"); sudo != "" {
		name = sudo
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

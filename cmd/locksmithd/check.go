package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coordd/coordd/locksmith/config"
	"github.com/coordd/coordd/locksmith/line"
	"github.com/coordd/coordd/locksmith/slots"
)

// checkTimeout bounds the whole look.
const checkTimeout = 2 * time.Minute

// newCheckCommand looks at everything once, as the agent does, and changes nothing.
func newCheckCommand(environ []string) *cobra.Command {
	s := &settings{}
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Look once at all that decides about a reboot, and change nothing",
		Long: `check asks the triggers, the windows, the blockers, the health checks and the store, as
the agent would now, and says what each answers. It ends with 0 whatever they answer,
and with 1 when it cannot ask: because a setting is wrong.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := s.load(environ)
			if err != nil {
				return err
			}
			if loaded.Config.Strategy == config.StrategyOff {
				fmt.Fprintln(cmd.OutOrStdout(), "strategy   off: nothing will reboot this machine")
				return nil
			}
			p, err := newParts(&loaded.Config, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			defer p.close()
			ctx, cancel := context.WithTimeout(cmd.Context(), checkTimeout)
			defer cancel()
			p.check(ctx, cmd.OutOrStdout(), time.Now())
			return nil
		},
	}
	s.bind(cmd.Flags())
	return cmd
}

// check writes one line for each answer.
func (p *parts) check(ctx context.Context, out io.Writer, now time.Time) {
	say := func(what, format string, args ...any) {
		fmt.Fprintf(out, "%-10s %s\n", what, line.Of(fmt.Sprintf(format, args...), maxLine))
	}
	bootID, err := p.host.BootID(ctx)
	if err != nil {
		bootID = "unknown: " + err.Error()
	}
	say("machine", "%s (%s), group %s, boot %s", p.name, p.id, p.config.Machine.Group, bootID)
	reasons, err := p.host.Wanted(ctx)
	for _, why := range reasons {
		say("wanted", "%s", why)
	}
	if err != nil {
		say("wanted", "cannot tell: %v", err)
	} else if len(reasons) == 0 {
		say("wanted", "no")
	}
	say("window", "%s", p.schedule.At(now, time.Time{}).Why)
	blocks := p.host.Blocks(ctx)
	for _, b := range blocks {
		say("blocked", "%s", b)
	}
	if len(blocks) == 0 {
		say("blocked", "no")
	}
	if p.config.Blockers.Users.Block {
		sessions, err := p.host.Sessions(ctx)
		for _, s := range sessions {
			if s.IsUser() {
				say("logged in", "%s since %s", s.User, s.Since.Format(time.RFC3339))
			}
		}
		if err != nil {
			say("logged in", "cannot tell, and so blocks: %v", err)
		}
	}
	if report := p.host.Health(ctx); report.Passed {
		say("health", "all checks pass")
	} else {
		say("health", "%s", report.Why())
	}
	for _, missing := range missingPrograms(p.config) {
		say("missing", "%s", missing)
	}
	p.checkStore(ctx, say)
}

func (p *parts) checkStore(ctx context.Context, say func(what, format string, args ...any)) {
	if p.group == nil {
		say("slot", "none is needed: the strategy is %s", p.config.Strategy)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*p.config.Store.Timeout)
	defer cancel()
	member, err := p.host.Member(ctx)
	switch {
	case err != nil:
		say("member", "cannot tell: %v", err)
	case member != "":
		say("member", "%s of the store runs here", member)
	}
	state, err := p.group.State(ctx)
	if err != nil {
		say("slot", "the store at %s does not answer: %v", strings.Join(p.config.Store.Endpoints, ", "), err)
		return
	}
	say("slot", "%d of %d are free, %d machines wait", state.Available(), state.Max, state.Waiting)
	if state.Pause != nil {
		say("slot", "paused by %s: %s", state.Pause.By, state.Pause.Reason)
	}
	switch _, r, err := p.group.Find(ctx, p.id); {
	case err == nil:
		say("slot", "this machine holds one: %s since %s, taken by %s: %s", r.Phase, r.PhaseSince.Local().Format(time.RFC3339), r.TakenBy, r.Reason)
	case !errors.Is(err, slots.ErrNotHeld):
		say("slot", "cannot tell whether this machine holds one: %v", err)
	}
}

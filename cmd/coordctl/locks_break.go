package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/user"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/recipes"
)

func newLocksAskCommand(s *session) *cobra.Command {
	var q placesQuery
	var reason string
	cmd := &cobra.Command{
		Use:   "ask NAME",
		Short: "Ask the holders of a lock, semaphore, election or queue item to release it",
		Long: `Ask the holders of a lock, semaphore, election or queue item to release it. Whether they do is up to them: a program
learns it by Hold.ReleaseAsked of the recipes, coordctl says it on standard error and releases with --yield. coordctl
locks shows who was asked. To be sure, see coordctl locks break.

Exit code 1 if nobody holds it, 128 if NAME is held in several kinds and --kind does not say which.`,
		Example: `  coordctl locks ask nightly-backup --reason "maintenance at noon"
  coordctl locks ask scheduler --kind election`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return badArguments("ask needs one name, but got %q", args)
			}
			return s.act(cmd, q, args[0], &action{verb: "asked", reason: reason, want: heldNow, do: ask})
		},
	}
	q.bind(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the holder to read")
	cmd.ValidArgsFunction = s.completeHeld(func() string { return q.kind })
	return cmd
}

func newLocksBreakCommand(s *session) *cobra.Command {
	var q placesQuery
	var reason string
	var force bool
	cmd := &cobra.Command{
		Use:   "break NAME|KEY",
		Short: "Take a lock, semaphore, election or queue item away from its holders",
		Long: `Take a lock, semaphore, election or queue item away from its holders, for good; the next in the queue has it then. With
KEY, as -w json shows it, that holder or waiter only. What a lock delay still keeps from others is given free too.

A holder that runs learns it at once by the end of its Hold.Context, with who did it and why; coordctl run kills its
command. Nobody can tell a holder that is cut off or stands still: when it goes on, it writes as if it still held the
lock, until it learns better. Whatever checks fencing tokens refuses that; for what does not, make sure that the holder
is gone before you break its lock.

Only what was shown is taken: whoever has come meanwhile keeps it. It asks on a terminal, and elsewhere needs --force.
Exit code 1 if nobody holds it or nothing was broken, 128 if NAME is held in several kinds and --kind does not say which.`,
		Example: `  coordctl locks break nightly-backup --reason "web1 burnt down"
  coordctl locks break --kind semaphore builders --reason "stuck" --force
  coordctl locks break /coordd/locks/report/q/w/0123456789abcdef0123456789abcdef --reason "wrong queue" --force`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || reason == "" {
				return badArguments("break needs one name or key, and --reason for the holder to read")
			}
			a := &action{verb: "broken", reason: reason, want: takesRoom, do: evict}
			if !force {
				a.confirm = func(r *listings) error { return confirmBreak(cmd, r) }
			}
			return s.act(cmd, q, args[0], a)
		},
	}
	q.bind(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the holder to read")
	cmd.Flags().BoolVar(&force, "force", false, "do not ask")
	cmd.ValidArgsFunction = s.completeHeld(func() string { return q.kind })
	return cmd
}

// action is done to places.
type action struct {
	verb    string
	reason  string
	want    func(recipes.Place) bool // of a name, to which
	confirm func(*listings) error    // nil: there is nothing to confirm
	do      func(ctx context.Context, kv clientv3.KV, s *recipes.Session, p recipes.Place, reason string) error
}

func heldNow(p recipes.Place) bool   { return p.State == recipes.Holding }
func takesRoom(p recipes.Place) bool { return p.State != recipes.Waiting }

func ask(ctx context.Context, _ clientv3.KV, s *recipes.Session, p recipes.Place, reason string) error {
	return s.AskToRelease(ctx, p, reason)
}

// evict takes a place away. The ask before it tells a holder who did that and why.
func evict(ctx context.Context, kv clientv3.KV, s *recipes.Session, p recipes.Place, reason string) error {
	if p.State == recipes.Holding {
		if err := s.AskToRelease(ctx, p, reason); err != nil {
			return err
		}
	}
	return recipes.Evict(ctx, kv, p)
}

// act does a to the places that the query's one name or key stands for. What has gone meanwhile is left out.
func (s *session) act(cmd *cobra.Command, q placesQuery, target string, a *action) error {
	p, err := s.printer(cmd, new(acted))
	if err == nil {
		err = q.validate()
	}
	if len(a.reason) > recipes.MaxReasonBytes {
		err = badArguments("--reason has %d bytes, at most %d", len(a.reason), recipes.MaxReasonBytes)
	}
	if err != nil {
		return err
	}
	var found *listings
	err = s.call(cmd, func(ctx context.Context, c *clientv3.Client) (err error) {
		if found, err = q.list(ctx, c); err != nil {
			return err
		}
		return found.pick(target, a.want)
	})
	if err == nil && a.confirm != nil {
		err = a.confirm(found)
	}
	if err != nil {
		return err
	}
	done := &acted{verb: a.verb}
	err = s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
		as, err := recipes.NewSession(ctx, c, &recipes.SessionOptions{Identity: operator()})
		if err != nil {
			return err
		}
		defer as.Close() // its lease holds nothing
		for place := range found.places() {
			if err := a.do(ctx, c, as, place, a.reason); err == nil {
				done.Places = append(done.Places, place)
			} else if !errors.Is(err, recipes.ErrKeyDeleted) {
				return err
			}
		}
		return nil
	})
	if err == nil && len(done.Places) == 0 {
		err = &nothingHeldError{name: target}
	}
	return errors.Join(p.print(done), err)
}

// pick leaves what a name or the key of a place stands for.
func (r *listings) pick(target string, want func(recipes.Place) bool) error {
	var kinds []string
	for i := range r.Listings {
		l := &r.Listings[i]
		l.Places = slices.DeleteFunc(l.Places, func(p recipes.Place) bool {
			return p.Key != target && (l.Name != target || !want(p))
		})
		if len(l.Places) > 0 {
			kinds = append(kinds, l.Kind)
		}
	}
	r.Listings = slices.DeleteFunc(r.Listings, func(l listing) bool { return len(l.Places) == 0 })
	switch len(kinds) {
	case 0:
		return &nothingHeldError{name: target}
	case 1:
		return nil
	}
	return badArguments("%q is a %s: say which by --kind", target, strings.Join(kinds, " and a "))
}

func (r *listings) places() iter.Seq[recipes.Place] {
	return func(yield func(recipes.Place) bool) {
		for _, l := range r.Listings {
			for _, p := range l.Places {
				if !yield(p) {
					return
				}
			}
		}
	}
}

// confirmBreak shows what is to be broken and asks on the terminal.
func confirmBreak(cmd *cobra.Command, r *listings) error {
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !isTerminal(in) {
		return badArguments("break needs --force where there is no terminal to ask on")
	}
	shown := new(text)
	r.simple(shown)
	fmt.Fprintf(cmd.ErrOrStderr(), "%sTake this away? [y/N] ", shown)
	line, err := bufio.NewReader(in).ReadString('\n')
	if answer := strings.ToLower(strings.TrimSpace(line)); err != nil || answer != "y" && answer != "yes" {
		return errors.New("nothing was broken")
	}
	return nil
}

// operator is who runs coordctl.
func operator() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	who, err := user.Current()
	if err != nil {
		return host
	}
	return who.Username + "@" + host
}

// acted are the places to which something was done.
type acted struct {
	Places []recipes.Place
	verb   string
}

func (r *acted) simple(t *text) {
	for _, p := range r.Places {
		t.linef("%s %s %s", r.verb, p.Key, who(t, p.Holder))
	}
}

func (r *acted) fields(t *text) {
	for _, p := range r.Places {
		t.place(p)
	}
}

func (r *acted) value(bool) any {
	return map[string][]recipes.Place{r.verb: append([]recipes.Place{}, r.Places...)}
}

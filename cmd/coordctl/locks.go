package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/recipes"
)

// heldKind is a kind of things that are held and waited for.
type heldKind struct{ name, prefix string }

// heldKinds are the recipes whose holders have places, with where they stand unless --prefix says otherwise.
var heldKinds = []heldKind{
	{"lock", recipes.DefaultLockPrefix},
	{"semaphore", recipes.DefaultSemaphorePrefix},
	{"election", recipes.DefaultElectionPrefix},
	{"queue", recipes.DefaultQueuePrefix},
}

func kindNames() (names []string) {
	for _, k := range heldKinds {
		names = append(names, k.name)
	}
	return names
}

// placesQuery is what of the holders and waiters is asked for.
type placesQuery struct {
	kind   string // "" is all
	prefix string // "" is the kind's own
	names  []string
}

func newLocksCommand(s *session) *cobra.Command {
	var q placesQuery
	var watch bool
	cmd := &cobra.Command{
		Use:   "locks [NAME...]",
		Short: "Show who holds locks, semaphores, elections and queue items, and who waits",
		Long: `Show who holds locks, semaphores, elections and queue items, and who waits for them, in the order of their turns. With
names it shows those only, and fails with exit code 1 if one of them has neither a holder, a waiter nor a limit.

  holding   it has it
  waiting   it stands in the queue
  delayed   it is gone without having given it back; its lock delay keeps others out until it runs out

The age counts from when an attempt began to wait, by the clock of its host. If that clock is ahead of this one's, so
that the age would be negative, it is 0s, and by how much the clocks differ stands behind.

Locks in etcd's layout, those of coordctl lock, coordctl elect and etcdctl, have no such places: coordctl get --prefix
NAME/ shows them. Kinds that the user may not read are left out, unless asked for by --kind.

--watch shows it anew after each change, on a terminal in place, until interrupted, which is no error. In JSON each
state is an object in a line of its own.`,
		Example: `  coordctl locks
  coordctl locks nightly-backup -w json
  coordctl locks --kind semaphore --watch
  coordctl locks ask nightly-backup --reason "maintenance at noon"
  coordctl locks break nightly-backup --reason "web1 burnt down"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, new(listings))
			if err != nil {
				return err
			}
			q.names = args
			if err := q.validate(); err != nil {
				return err
			}
			if watch {
				return s.watchLocks(cmd, p, q)
			}
			return s.locks(cmd, p, q)
		},
	}
	q.bind(cmd)
	cmd.Flags().BoolVar(&watch, "watch", false, "show it anew after each change, until interrupted")
	cmd.ValidArgsFunction = s.completeHeld(func() string { return q.kind })
	cmd.AddCommand(newLocksAskCommand(s), newLocksBreakCommand(s))
	return cmd
}

func (q *placesQuery) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&q.kind, "kind", "", "only lock, semaphore, election or queue (default all)")
	cmd.Flags().StringVar(&q.prefix, "prefix", "", "where the keys of --kind live, if not where they do by default")
	completeFlag(cmd, "kind", kindNames()...)
}

func (q *placesQuery) validate() error {
	switch {
	case q.kind != "" && !slices.Contains(kindNames(), q.kind):
		return badArguments("--kind is %q: give %s", q.kind, strings.Join(kindNames(), ", "))
	case q.prefix != "" && q.kind == "":
		return badArguments("--prefix needs --kind: say what stands there, %s", strings.Join(kindNames(), ", "))
	case strings.HasSuffix(q.prefix, "/"):
		return badArguments("--prefix is %q: leave out the slash at its end", q.prefix)
	}
	return nil
}

// kinds are those asked for, each with the prefix to look below.
func (q *placesQuery) kinds() (kinds []heldKind) {
	for _, k := range heldKinds {
		if q.kind != "" && q.kind != k.name {
			continue
		}
		if q.prefix != "" {
			k.prefix = q.prefix
		}
		kinds = append(kinds, k)
	}
	return kinds
}

// list reads what is asked for. A kind that the user may not read is left out where there are others.
func (q *placesQuery) list(ctx context.Context, kv clientv3.KV) (*listings, error) {
	found := &listings{Listings: []listing{}}
	var denied error
	kinds := q.kinds()
	for _, k := range kinds {
		below, err := recipes.List(ctx, kv, k.prefix)
		if errors.Is(err, rpctypes.ErrPermissionDenied) {
			denied = err
			continue
		}
		if err != nil {
			return nil, clientv3.ContextError(ctx, err)
		}
		found.readable = append(found.readable, k)
		for _, l := range below {
			if len(q.names) == 0 || slices.Contains(q.names, l.Name) {
				found.Listings = append(found.Listings, listing{k.name, l})
			}
		}
	}
	if len(found.readable) == 0 {
		return nil, denied
	}
	found.now = time.Now()
	return found, nil
}

func (s *session) locks(cmd *cobra.Command, p *printer, q placesQuery) error {
	return s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
		found, err := q.list(ctx, c)
		if err != nil {
			return err
		}
		if err := p.print(found); err != nil {
			return err
		}
		return q.missing(found)
	})
}

// missing is the error of a name that was asked for and has nothing.
func (q *placesQuery) missing(found *listings) error {
	for _, name := range q.names {
		if !slices.ContainsFunc(found.Listings, func(l listing) bool { return l.Name == name }) {
			return &nothingHeldError{name: name}
		}
	}
	return nil
}

// nothingHeldError says that a name has no holder and nobody who waits.
type nothingHeldError struct{ name string }

func (e *nothingHeldError) Error() string {
	return fmt.Sprintf("nobody holds %q or waits for it", e.name)
}

// completeHeld completes names of what is held or waited for, of the kind that kind says at that time, "" for all.
func (s *session) completeHeld(kind func() string) cobra.CompletionFunc {
	return s.completeNames(func(ctx context.Context, kv clientv3.KV) (names []string, err error) {
		q := placesQuery{kind: kind()}
		found, err := q.list(ctx, kv)
		if err != nil {
			return nil, err
		}
		for _, l := range found.Listings {
			names = append(names, l.Name)
		}
		return names, nil
	})
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// settle is how long to wait after a change for those that come with it, as a release and the next one's grant.
const settle = 50 * time.Millisecond

// refresh is how often ages are shown anew on a terminal.
const refresh = time.Second

// locksWatch shows what is held, again and again.
type locksWatch struct {
	session *session
	query   placesQuery
	client  *clientv3.Client
	printer *printer
	screen  bool // a terminal, to draw in place
	shown   *listings

	readable []heldKind
}

func (s *session) watchLocks(cmd *cobra.Command, p *printer, q placesQuery) error {
	c, err := s.client(s.endpoints...)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, stop := untilInterrupted(cmd.Context())
	defer stop()
	w := &locksWatch{session: s, query: q, client: c, printer: p, screen: drawsInPlace(p)}
	err = w.run(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return s.explainUnreachable(cmd.Context(), err)
}

// drawsInPlace says that output is for people who look at a terminal.
func drawsInPlace(p *printer) bool {
	file, ok := p.out.(*os.File)
	return ok && isTerminal(file) && (p.format == "simple" || p.format == "table")
}

// run shows what is held now and after each change, until ctx ends or a read fails. A broken watch is begun anew.
func (w *locksWatch) run(ctx context.Context) error {
	for {
		if err := w.look(ctx); err != nil {
			return err
		}
		if err := w.follow(ctx); !errors.Is(err, errWatchBroke) {
			return err
		}
		time.Sleep(settle)
	}
}

var errWatchBroke = errors.New("the watch broke")

// follow shows each change. The watches start at the present and a reading follows, so nothing is missed.
func (w *locksWatch) follow(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	changes, wait := w.changes(ctx)
	defer wait()
	defer stop()
	var ticks <-chan time.Time
	if w.screen {
		ticker := time.NewTicker(refresh)
		defer ticker.Stop()
		ticks = ticker.C
	}
	var due <-chan time.Time
	for {
		select {
		case resp := <-changes:
			if resp.Canceled {
				return errWatchBroke
			}
			if due == nil {
				due = time.After(settle)
			}
		case <-due:
			due = nil
			if err := w.look(ctx); err != nil {
				return err
			}
		case now := <-ticks:
			w.shown.now = now
			if err := w.draw(); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// changes are what happens where the user may read, as of the last reading; wait returns when nobody sends any more.
func (w *locksWatch) changes(ctx context.Context) (changes <-chan clientv3.WatchResponse, wait func()) {
	merged := make(chan clientv3.WatchResponse)
	var senders sync.WaitGroup
	for _, k := range w.readable {
		from := w.client.Watch(clientv3.WithRequireLeader(ctx), k.prefix+"/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
		senders.Go(func() {
			for resp := range from {
				select {
				case merged <- resp:
				case <-ctx.Done():
				}
			}
		})
	}
	return merged, senders.Wait
}

// look reads what is held and shows it unless it is what was shown last.
func (w *locksWatch) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, w.session.commandTimeout)
	defer cancel()
	found, err := w.query.list(ctx, w.client)
	if err != nil {
		return err
	}
	w.readable = found.readable
	if w.shown != nil && reflect.DeepEqual(found.Listings, w.shown.Listings) {
		return nil
	}
	if w.shown != nil && !w.screen && w.printer.format != "json" {
		if _, err := fmt.Fprintln(w.printer.out); err != nil {
			return err
		}
	}
	w.shown = found
	return w.draw()
}

// draw shows what was read last.
func (w *locksWatch) draw() error {
	if w.screen {
		const home, clear = "\x1b[H", "\x1b[2J"
		if _, err := fmt.Fprintf(w.printer.out, home+clear+"%s\n\n", w.shown.now.Format(time.DateTime)); err != nil {
			return err
		}
	}
	return w.printer.print(w.shown)
}

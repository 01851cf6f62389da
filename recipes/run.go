package recipes

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Run runs f with a session, and again with a new one whenever that is lost, until f returns nil or an error that is not
// a loss, or ctx ends; nil options mean defaults. The context of f ends with ctx and with the session. A lost session's f
// has returned before the next begins. Within f, Mutex.Do and Election.Run are loops that go on for as long as the program.
func Run(ctx context.Context, client *clientv3.Client, o *SessionOptions, f func(context.Context, *Session) error) error {
	if _, err := prepareSession(client, o, localClock()); err != nil {
		return err
	}
	for {
		s, err := NewSession(ctx, client, o)
		if err != nil {
			if ctx.Err() == nil && !final(err) && sleep(ctx, renewPause) {
				continue // the store is out of reach
			}
			return err
		}
		if lost, err := s.runOnce(ctx, f); !lost || ctx.Err() != nil {
			return err
		}
	}
}

// renewPause spaces out attempts to get another session.
const renewPause = time.Second

// runOnce runs f and ends the session. It reports whether f failed because the session was lost.
func (s *Session) runOnce(ctx context.Context, f func(context.Context, *Session) error) (lost bool, err error) {
	inSession, stop := join(ctx, s.Context())
	defer stop()
	defer s.Close() // also when f panics
	err = f(inSession, s)
	lost = s.Valid() != nil && (errors.Is(err, ErrLost) || errors.Is(err, context.Canceled))
	closed := s.Close()
	if lost {
		return true, err
	}
	return false, errors.Join(err, closed)
}

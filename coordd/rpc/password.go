package rpc

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/kvcore/auth"
	"golang.org/x/crypto/bcrypt"
)

// maxPasswordsWaiting bounds those that wait for a turn; at etcd's default cost
// the last one waits for a few seconds.
const maxPasswordsWaiting = 64

// passwords hashes and checks passwords, which takes much processor time on
// purpose: a few at a time, so that who guesses passwords leaves some time for
// everyone else.
type passwords struct {
	cost    int
	timeout time.Duration
	turns   chan struct{} // capacity: how many at a time
	waiting atomic.Int64
	// nobody is a hash to compare with where there is no such user, so that
	// the answer takes as long as it does where there is.
	nobody []byte
}

func newPasswords(cost int, timeout time.Duration) *passwords {
	const saltAndHash = 53 // characters behind the cost
	return &passwords{
		cost:    cost,
		timeout: timeout,
		turns:   make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		nobody:  fmt.Appendf(nil, "$2a$%02d$%s", cost, strings.Repeat(".", saltAndHash)),
	}
}

// hash returns the bcrypt hash of a new password.
func (p *passwords) hash(ctx context.Context, password string) ([]byte, error) {
	if err := p.begin(ctx); err != nil {
		return nil, err
	}
	defer p.end()
	return bcrypt.GenerateFromPassword([]byte(password), p.cost)
}

// check says whether a password is that of a user. It fails as
// auth.Table.PasswordHash, and with auth.ErrWrongPassword.
func (p *passwords) check(ctx context.Context, table *auth.Table, user, password string) error {
	hash, err := table.PasswordHash(user)
	if errors.Is(err, auth.ErrWrongPassword) {
		hash = p.nobody
	} else if err != nil {
		return err
	}
	if err := p.begin(ctx); err != nil {
		return err
	}
	defer p.end()
	if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil || err != nil {
		return auth.ErrWrongPassword
	}
	return nil
}

// begin waits for a turn.
func (p *passwords) begin(ctx context.Context) error {
	if p.waiting.Add(1) > maxPasswordsWaiting {
		p.waiting.Add(-1)
		return raftnode.ErrTooManyRequests
	}
	defer p.waiting.Add(-1)
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, raftnode.ErrTimeout)
	defer cancel()
	select {
	case p.turns <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *passwords) end() { <-p.turns }

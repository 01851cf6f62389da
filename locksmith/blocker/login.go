package blocker

import (
	"cmp"
	"context"
	"fmt"

	"github.com/coordd/coordd/locksmith/login1"
)

// inhibitors are the locks of logind that hold up a shutdown. They are asked
// about, although logind itself knows them: before systemd 257 it lets root pass at
// least those that root holds.
type inhibitors struct {
	list func(context.Context) ([]login1.Inhibitor, error)
}

func (inhibitors) Name() string { return "inhibitor" }

func (i inhibitors) Blocks(ctx context.Context) ([]string, error) {
	held, err := i.list(ctx)
	if err != nil {
		return nil, err
	}
	var why []string
	for _, h := range held {
		if h.BlocksShutdown() {
			why = append(why, fmt.Sprintf("%s (pid %d) blocks shutdown: %s", cmp.Or(h.Who, "somebody"), h.PID, cmp.Or(h.Why, "no reason is given")))
		}
	}
	return why, nil
}

// users are those who are logged in, where they are never overruled.
type users struct {
	list func(context.Context) ([]login1.Session, error)
}

func (users) Name() string { return "users" }

func (u users) Blocks(ctx context.Context) ([]string, error) {
	sessions, err := u.list(ctx)
	if err != nil {
		return nil, err
	}
	var why []string
	for _, s := range sessions {
		if s.IsUser() {
			why = append(why, describe(s)+" is logged in")
		}
	}
	return why, nil
}

// describe names a session as who(1) would.
func describe(s login1.Session) string {
	name := cmp.Or(s.User, fmt.Sprintf("user %d", s.UID))
	switch {
	case s.RemoteHost != "":
		return name + " from " + s.RemoteHost
	case s.TTY != "":
		return name + " on " + s.TTY
	}
	return name
}

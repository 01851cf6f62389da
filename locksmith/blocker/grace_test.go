package blocker

import (
	"testing"
	"time"

	"github.com/coordd/coordd/locksmith/login1"
)

var noon = time.Date(2020, 1, 1, 12, 0, 0, 0, time.UTC)

func people(ids ...string) (sessions []login1.Session) {
	sessions = append(sessions, login1.Session{ID: "c1", User: "gdm", Class: "greeter", State: "active"})
	for _, id := range ids {
		sessions = append(sessions, login1.Session{ID: id, User: "user" + id, Class: "user", State: "active"})
	}
	return sessions
}

func TestGrace(t *testing.T) {
	type look struct {
		at            time.Duration
		who           []login1.Session
		blocked, warn bool
		until         time.Duration // after noon; 0: none
	}
	const min = time.Minute
	ten := Users{Block: true, Grace: 10 * min}
	for name, c := range map[string]struct {
		users Users
		looks []look
	}{
		"nobody":   {ten, []look{{0, people(), false, false, 0}}},
		"somebody": {ten, []look{{0, people("1"), true, true, 10 * min}, {9 * min, people("1"), true, false, 10 * min}, {10 * min, people("1"), false, false, 0}, {11 * min, people("1"), false, false, 0}}},
		"a newcomer is warned of the same time": {ten, []look{
			{0, people("1"), true, true, 10 * min}, {5 * min, people("1", "2"), true, true, 10 * min}, {6 * min, people("2"), true, false, 10 * min},
			{10 * min, people("2", "3"), false, false, 0},
		}},
		"who comes back is a newcomer": {ten, []look{
			{0, people("1", "2"), true, true, 10 * min}, {1 * min, people("2"), true, false, 10 * min}, {2 * min, people("1", "2"), true, true, 10 * min},
		}},
		"all leave, and somebody comes": {ten, []look{
			{0, people("1"), true, true, 10 * min}, {5 * min, people(), false, false, 0}, {6 * min, people("2"), true, true, 16 * min},
		}},
		"never overruled":        {Users{Block: true}, []look{{0, people("1"), true, false, 0}, {1e6 * min, people("1"), true, false, 0}, {1e6 * min, people(), false, false, 0}}},
		"they do not matter":     {Users{Grace: 10 * min}, []look{{0, people("1"), false, false, 0}}},
		"a clock that goes back": {ten, []look{{0, people("1"), true, true, 10 * min}, {-60 * min, people("1"), true, false, 10 * min}, {10 * min, people("1"), false, false, 0}}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewGrace(c.users)
			for i, l := range c.looks {
				n := g.Observe(noon.Add(l.at), l.who)
				until := time.Time{}
				if l.until != 0 {
					until = noon.Add(l.until)
				}
				if n.Blocked != l.blocked || n.Warn != l.warn || !n.Until.Equal(until) || (n.Why != "") != l.blocked {
					t.Errorf("look %d: %+v", i, n)
				}
			}
		})
	}
	g := NewGrace(ten)
	if g.Warned() {
		t.Error("warned at the beginning")
	}
	if why := g.Observe(noon, people("1", "2")).Why; why != "logged in: user1, user2; the reboot waits until 2020-01-01T12:10:00Z" || !g.Warned() {
		t.Errorf("%q, warned %t", why, g.Warned())
	}
	if g.Observe(noon, nil); g.Warned() {
		t.Error("all have left, and are still to be told")
	}
}

package blocker

import (
	"fmt"
	"strings"
	"time"

	"github.com/coordd/coordd/locksmith/line"
	"github.com/coordd/coordd/locksmith/login1"
)

// Grace is the time that people who are logged in have between a warning and the
// reboot. Whoever is about to reboot the machine, and holds its slot, tells it who
// is logged in, again and again, and does what it says:
//
//	nobody ──► somebody: warn, wait ──► the time is over: reboot
//	  ▲            │    ▲    │
//	  └── all left ┘    └────┘ somebody came: warn again, for the same time
//
// The time runs from the first warning and no newcomer extends it, or a busy
// machine would never reboot. It belongs to one goroutine and to one attempt to reboot.
type Grace struct {
	config Users
	until  time.Time       // when the reboot may be; zero: nobody was warned
	warned map[string]bool // sessions that were there at a warning
}

// NewGrace begins an attempt to reboot.
func NewGrace(c Users) *Grace { return &Grace{config: c} }

// Notice says what people who are logged in mean for a reboot now.
type Notice struct {
	Blocked bool      // the reboot has to wait
	Until   time.Time // how long at most; zero: until they have left
	Warn    bool      // all who are logged in are to be told now that the reboot is at Until
	Why     string    // for people: who is waited for
}

// Observe takes who is logged in now.
func (g *Grace) Observe(now time.Time, sessions []login1.Session) Notice {
	present := map[string]bool{}
	var who []string
	newcomer := false
	for _, s := range sessions {
		if s.IsUser() {
			present[s.ID] = true
			newcomer = newcomer || !g.warned[s.ID]
			who = append(who, describe(s))
		}
	}
	switch {
	case !g.config.Block || len(present) == 0:
		g.until, g.warned = time.Time{}, nil
		return Notice{}
	case g.config.Grace == 0:
		return Notice{Blocked: true, Why: "logged in: " + list(who)}
	case g.until.IsZero():
		g.until = now.Add(g.config.Grace)
	case !now.Before(g.until):
		return Notice{}
	}
	g.warned = present
	why := fmt.Sprintf("logged in: %s; the reboot waits until %s", list(who), g.until.Format(time.RFC3339))
	return Notice{Blocked: true, Until: g.until, Warn: newcomer, Why: why}
}

// Warned reports whether people were told of a reboot, who must be told as well when it is called off.
func (g *Grace) Warned() bool { return !g.until.IsZero() }

// list joins words, maxReasons at most.
func list(words []string) string {
	if more := len(words) - maxReasons; more > 0 {
		words = append(words[:maxReasons:maxReasons], fmt.Sprintf("%d more", more))
	}
	return line.Of(strings.Join(words, ", "), maxWhy)
}

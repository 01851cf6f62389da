package main

import (
	"context"
	"fmt"
	"strings"
)

const (
	shortTTLSeconds = 4 // it is waited for, and a busy machine must not let it pass
	fewSessions     = 4
)

// overtaking is a holder that stands still for longer than its lease lasts, with a write
// in hand, while the next holder does its work.
type overtaking struct {
	policy  policy
	advance bool // holders raise the mark before they read
	check   bool // the old holder asks Valid just before it stands still
	early   bool // it goes on before the new holder writes, not after
}

// run returns how many numbers lost an update, of as many as there are lanes.
func (o overtaking) run(ctx context.Context, s *stage, name string, lanes int) (found outcome, err error) {
	c := command{Lanes: lanes, Sessions: fewSessions, Policy: o.policy, Name: name, Kind: mutex, TTLSeconds: shortTTLSeconds}
	a, err := s.newPlayer(ctx, c)
	if err != nil {
		return found, err
	}
	defer a.end()
	b, err := s.newPlayer(ctx, c)
	if err != nil {
		return found, err
	}
	defer b.end()
	if err := o.play(ctx, a, b, &found); err != nil {
		return found, err
	}
	return found, o.judge(ctx, s, name, lanes, &found)
}

func (o overtaking) play(ctx context.Context, a, b *player, found *outcome) error {
	script := steps{ctx: ctx}
	script.do(a, command{Do: "lock"})
	script.do(a, command{Do: "read", Advance: o.advance})
	if o.check {
		for _, lane := range script.do(a, command{Do: "check"}) {
			if !lane.Valid {
				return fmt.Errorf("a lock was lost before the holder stood still")
			}
		}
	}
	if script.err == nil {
		script.err = a.stop()
	}
	late := a.begin(ctx, command{Do: "write"})
	script.do(b, command{Do: "lock"}) // returns when the store has let the leases of a expire
	script.do(b, command{Do: "read", Advance: o.advance})
	if !o.early {
		script.do(b, command{Do: "write"})
	}
	if script.err == nil {
		script.err = a.resume()
	}
	if script.err == nil {
		_, script.err = late()
	}
	if o.early {
		script.do(b, command{Do: "write"})
	}
	if o.check {
		for _, lane := range script.do(a, command{Do: "check"}) {
			if lane.Valid {
				found.falselyValid++
			}
		}
	}
	return script.err
}

// judge counts the numbers that are less than as often as they were raised.
func (o overtaking) judge(ctx context.Context, s *stage, name string, lanes int, found *outcome) error {
	state, err := s.resourceState(ctx)
	if err != nil {
		return err
	}
	raised, values := map[string]int64{}, map[string]int64{}
	for _, l := range state.Log {
		if strings.HasPrefix(l.Asked.Name, name+".") && l.Asked.Do == "write" && !l.Answer.Refused {
			raised[l.Asked.Name]++
			values[l.Asked.Name] = l.Answer.Value
		}
	}
	found.trials = lanes
	for name, n := range raised {
		if values[name] != n {
			found.violations++
		}
	}
	if len(raised) != lanes {
		return fmt.Errorf("%d of %d numbers were written", len(raised), lanes)
	}
	return nil
}

// steps are commands one after another, until one fails.
type steps struct {
	ctx context.Context
	err error
}

func (s *steps) do(p *player, c command) (lanes []result) {
	if s.err == nil {
		lanes, s.err = p.do(s.ctx, c)
	}
	return lanes
}

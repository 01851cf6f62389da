package main

import (
	"context"
	"errors"
)

// steadyTTLSeconds is for holders that nothing happens to.
const steadyTTLSeconds = 30

// slotTrial has two holders of a semaphore write one after the other, the younger first,
// and counts the writes that were refused although both hold.
func slotTrial(ctx context.Context, s *stage, name string, p policy, lanes int) (found outcome, err error) {
	c := command{Lanes: lanes, Sessions: fewSessions, Policy: p, Name: name, Kind: semaphore, TTLSeconds: steadyTTLSeconds}
	older, err := s.newPlayer(ctx, c)
	if err != nil {
		return found, err
	}
	defer older.end()
	younger, err := s.newPlayer(ctx, c)
	if err != nil {
		return found, err
	}
	defer younger.end()
	script := steps{ctx: ctx}
	script.do(older, command{Do: "lock"})
	script.do(younger, command{Do: "lock"})
	script.do(younger, command{Do: "read", Advance: true})
	script.do(younger, command{Do: "write"})
	script.write(older, &found)
	return found, script.err
}

// write lets holders write and counts those who hold and were refused all the same.
func (s *steps) write(p *player, found *outcome) {
	written := s.do(p, command{Do: "write"})
	valid := s.do(p, command{Do: "check"})
	for i := range valid {
		found.trials++
		if !valid[i].Valid {
			s.err = errors.Join(s.err, errors.New("a holder that nothing happened to was lost"))
		}
		if written[i].Refused {
			found.violations++
		}
	}
}

// transferTrial has three lead one after the other, the last two not in the order in
// which they stood, and counts the leaders whose writes were refused.
func transferTrial(ctx context.Context, s *stage, name string, byCandidacy bool, lanes int) (found outcome, err error) {
	c := command{
		Lanes: lanes, Sessions: fewSessions, Policy: marked, Name: name, Kind: election, TTLSeconds: steadyTTLSeconds, ByCandidacy: byCandidacy,
	}
	var players [3]*player
	script := steps{ctx: ctx}
	var last []result
	for i := range players {
		if players[i], err = s.newPlayer(ctx, c); err != nil {
			return found, err
		}
		defer players[i].end()
		last = script.do(players[i], command{Do: "stand"})
	}
	first, second, third := players[0], players[1], players[2]
	script.do(first, command{Do: "lead"})
	transfer := command{Do: "transfer"}
	for _, candidate := range last {
		transfer.Candidates = append(transfer.Candidates, candidate.Key)
	}
	script.do(first, transfer)
	script.do(third, command{Do: "lead"})
	script.do(third, command{Do: "write"})
	script.do(third, command{Do: "unlock"})
	script.do(second, command{Do: "lead"})
	script.write(second, &found)
	return found, script.err
}

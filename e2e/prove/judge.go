package main

import (
	"fmt"
	"time"

	"github.com/coordd/coordd/e2e/history"
	"github.com/coordd/coordd/e2e/lincheck"
	"github.com/coordd/coordd/recipes/fence"
)

// judgeHistory replays what the store did.
func judgeHistory(events []history.Event) (wrong []string) {
	wrong = append(history.Complete(events), history.Leases{Marks: sessionMarks}.Check(events)...)
	for _, t := range targets {
		var found []string
		switch t.Kind {
		case mutex, rwMutex:
			found = history.Lock{Queue: t.path() + "/q/", Visits: t.visits(), Guarded: true}.Check(events)
		case semaphore:
			found = history.Semaphore{Path: t.path()}.Check(events)
		case election:
			found = history.Election{Path: t.path()}.Check(events)
		}
		for _, f := range found {
			wrong = append(wrong, t.Name+": "+f)
		}
	}
	return wrong
}

// judgeResource replays what the resource did, with the same mark once more, and demands
// that each write goes on from the one before.
func judgeResource(log []logged) (wrong []string) {
	ops := map[string][]lincheck.Op{}
	values := map[string]int64{}
	for i, l := range log {
		place, op, err := registerOp(l, time.Duration(i))
		if err != nil {
			wrong = append(wrong, err.Error())
			continue
		}
		if l.Asked.Do == "write" && !l.Answer.Refused {
			if l.Asked.Value != values[place]+1 {
				wrong = append(wrong, fmt.Sprintf("%s: a lost update: %d after %d, by %s", place, l.Asked.Value, values[place], l.Asked.Token))
			}
			values[place] = l.Asked.Value
		}
		ops[place] = append(ops[place], op)
	}
	for place, ops := range ops {
		if err := lincheck.Register().Check(ops, time.Minute); err != nil {
			wrong = append(wrong, place+": "+err.Error())
		}
	}
	return wrong
}

// registerOp is an access as an operation on the register at its place.
func registerOp(l logged, at time.Duration) (place string, op lincheck.Op, err error) {
	token, err := fence.Parse(l.Asked.Token)
	if err != nil {
		return "", op, err
	}
	op = lincheck.Op{
		Call: at, Return: at, Do: lincheck.Action(l.Asked.Do), Token: token.Revision(), Shared: token.Fields().Mode == fence.Shared,
		Value: l.Answer.Value, Refused: l.Answer.Refused,
	}
	return placeOf(l.Asked.Name, token), op, nil
}

// diaryOf tells what belongs to a target.
func diaryOf(t target, lines []line) (ops []lincheck.Op, believed map[string]time.Duration, complaints []string) {
	believed = map[string]time.Duration{}
	for _, l := range lines {
		switch {
		case l.Target != t:
		case l.Op != nil:
			ops = append(ops, *l.Op)
		case l.Complaint != "":
			complaints = append(complaints, l.Complaint)
		default:
			believed[l.Who] = max(believed[l.Who], l.Believed)
		}
	}
	return ops, believed, complaints
}

// judgeDiaries compares what the users saw with the models, and with each other.
func judgeDiaries(lines []line) (wrong []string) {
	models := map[kind]lincheck.Model{
		mutex: lincheck.Mutex(), rwMutex: lincheck.RWMutex(), semaphore: lincheck.Semaphore(roamLimit), election: lincheck.Election(),
	}
	for _, t := range targets {
		ops, believed, found := diaryOf(t, lines)
		if err := models[t.Kind].Check(complete(ops), time.Minute); err != nil {
			found = append(found, err.Error())
		}
		if t.Kind == mutex || t.Kind == election {
			found = append(found, judgeBelief(ops, believed)...)
		}
		if len(ops) == 0 {
			found = append(found, "nobody ever had it")
		}
		for _, f := range found {
			wrong = append(wrong, t.Name+": "+f)
		}
	}
	return wrong
}

// complete adds what those concerned did not see: the release of what was lost, and the
// terms of leaders who never knew that they led, but whom others saw.
func complete(ops []lincheck.Op) []lincheck.Op {
	since, until := map[string]time.Duration{}, map[string]bool{}
	for _, op := range ops {
		switch op.Do {
		case lincheck.Acquire:
			since[op.Who] = op.Return
		case lincheck.Release:
			until[op.Who] = true
		case lincheck.Transfer:
			until[op.Who] = true
			if _, known := since[op.To]; !known {
				since[op.To] = op.Call
			}
		}
	}
	for _, op := range ops {
		if _, known := since[op.To]; op.Do == lincheck.Leader && op.To != "" && !known {
			// Of who was seen more than once, any sight will do: tokens put the terms in order.
			ops = append(ops, lincheck.Op{Do: lincheck.Acquire, Who: op.To, Token: op.Token, Return: op.Return})
			since[op.To] = 0
		}
	}
	for who, call := range since {
		if !until[who] {
			ops = append(ops, lincheck.Op{Do: lincheck.Release, Who: who, Call: call, Return: lincheck.Never})
		}
	}
	return ops
}

// judgeBelief demands that nobody believed to hold when the next one had been granted it.
func judgeBelief(ops []lincheck.Op, believed map[string]time.Duration) (wrong []string) {
	for _, op := range ops {
		if op.Do != lincheck.Acquire {
			continue
		}
		for _, next := range ops {
			if next.Do == lincheck.Acquire && next.Token > op.Token && next.Return < believed[op.Who] {
				wrong = append(wrong, fmt.Sprintf("%s believed to hold %v after %s was granted it", op.Who, believed[op.Who]-next.Return, next.Who))
			}
		}
	}
	return wrong
}

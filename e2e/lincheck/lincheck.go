// Package lincheck judges locks, semaphores, elections and fenced registers by what
// their users were told, and when: a history is right if the operations can be put in
// an order that a model admits, each at a moment between its call and its return
// (Herlihy and Wing, Linearizability). Porcupine looks for that order.
package lincheck

import (
	"fmt"
	"math"
	"time"

	"github.com/anishathalye/porcupine"
)

// Never is the return of an operation whose end nobody saw: a lock that was lost is
// released at some moment after it was granted.
const Never = time.Duration(math.MaxInt64)

// Op is one operation on one lock, semaphore, election or register.
type Op struct {
	Call, Return time.Duration // on a clock that all share; Return may be Never
	Do           Action
	Who          string // the acquisition: each has a name of its own
	Token        int64  // of an acquisition or an access, 0 if it is not known
	Shared       bool   // a reader's
	Weight       int64  // of a semaphore's acquisition; its limit with SetLimit
	To           string // with Transfer the successor, with Leader who leads, "" for nobody
	Value        int64  // of a register, as read or written
	Refused      bool   // an access, because of its token
}

// Action is what an operation does.
type Action string

// The actions of the models. Each model knows some of them.
const (
	Acquire  Action = "acquire"
	Release  Action = "release"
	SetLimit Action = "set limit"
	Transfer Action = "transfer"
	Leader   Action = "leader"
	Advance  Action = "advance"
	Read     Action = "read"
	Write    Action = "write"
)

// Model is what operations do to a state.
type Model struct{ porcupine.Model }

// model makes a Model of states that == compares.
func model[S comparable](initial S, step func(S, Op) (S, bool)) Model {
	return Model{porcupine.Model{
		Init: func() any { return initial },
		Step: func(state, input, _ any) (bool, any) {
			next, ok := step(state.(S), input.(Op))
			return ok, next
		},
		DescribeOperation: func(input, _ any) string { return fmt.Sprintf("%+v", input) },
	}}
}

// Check returns nil if there is an order of the operations that the model admits. It
// gives up after a time.
func (m Model) Check(ops []Op, giveUp time.Duration) error {
	history := make([]porcupine.Operation, len(ops))
	for i, op := range ops {
		history[i] = porcupine.Operation{ClientId: i, Input: op, Call: int64(op.Call), Return: int64(op.Return)}
	}
	switch result := porcupine.CheckOperationsTimeout(m.Model, history, giveUp); result {
	case porcupine.Ok:
		return nil
	case porcupine.Illegal:
		return fmt.Errorf("lincheck: no order explains %d operations", len(ops))
	default:
		return fmt.Errorf("lincheck: no verdict on %d operations after %v", len(ops), giveUp)
	}
}

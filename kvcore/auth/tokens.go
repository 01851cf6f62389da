package auth

import (
	"container/list"
	"sync"
	"time"
)

// maxTokens bounds the memory that tokens take; the longest unused goes first.
const maxTokens = 64 << 10

// TokenHash is the SHA-256 of a token: the token itself is its user's alone.
type TokenHash [32]byte

// Tokens are the simple tokens that stand for users. They come by replicated
// commands, so that every member knows them, but they are volatile: lost with
// the process, and expired by each member's own clock after a time without use
// there. The time of a token that was never used begins with the next Use of
// any, so it may live longer than asked but never shorter.
//
// Tokens has no clock: time is an argument. All methods may be called
// concurrently. The zero Tokens is empty and ready.
type Tokens struct {
	mu     sync.Mutex
	byHash map[TokenHash]*list.Element
	order  list.List // of *token: rising by deadline, then those whose time has not begun
}

type token struct {
	hash     TokenHash
	user     string
	deadline time.Time // zero until the next Use
}

// Assign makes a token stand for a user.
func (t *Tokens) Assign(hash TokenHash, user string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byHash == nil {
		t.byHash = map[TokenHash]*list.Element{}
	}
	if e := t.byHash[hash]; e != nil {
		t.remove(e) // an entry of the log that is applied again
	}
	t.byHash[hash] = t.order.PushBack(&token{hash: hash, user: user})
	if t.order.Len() > maxTokens {
		t.remove(t.order.Front())
	}
}

// Use returns the user that a token stands for, and lets it live for ttl from
// now.
func (t *Tokens) Use(hash TokenHash, now time.Time, ttl time.Duration) (user string, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for e := t.order.Back(); e != nil && e.Value.(*token).deadline.IsZero(); e = e.Prev() {
		e.Value.(*token).deadline = now.Add(ttl)
	}
	for e := t.order.Front(); e != nil && e.Value.(*token).deadline.Before(now); e = t.order.Front() {
		t.remove(e)
	}
	e := t.byHash[hash]
	if e == nil {
		return "", false
	}
	used := e.Value.(*token)
	used.deadline = now.Add(ttl)
	t.order.MoveToBack(e)
	return used.user, true
}

// Drop ends a user's tokens.
func (t *Tokens) Drop(user string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.byHash {
		if e.Value.(*token).user == user {
			t.remove(e)
		}
	}
}

// Clear ends all tokens.
func (t *Tokens) Clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.byHash)
	t.order.Init()
}

func (t *Tokens) remove(e *list.Element) {
	delete(t.byHash, e.Value.(*token).hash)
	t.order.Remove(e)
}

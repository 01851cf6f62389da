package recipes

import (
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Errors to test for with errors.Is.
var (
	// ErrLocked is the error of what does not wait, TryLock, TryAcquire, TryUpgrade and TryClaim, when somebody else holds
	// or waits, and Barrier.Hold's when the barrier is closed.
	ErrLocked = errors.New("recipes: locked")
	// ErrLost is what every *LostError is.
	ErrLost = errors.New("recipes: ownership lost")
	// ErrSessionClosed is why ownership ended when Session.Close was called.
	ErrSessionClosed = errors.New("recipes: session closed")
	// ErrSessionExpired is why ownership ended when no keepalive was acknowledged in time, by the local clock.
	ErrSessionExpired = errors.New("recipes: session expired")
	// ErrLeaseGone is why ownership ended when the store no longer knew the session's lease, and the error of resuming a
	// lease that it does not know.
	ErrLeaseGone = errors.New("recipes: session lease is gone")
	// ErrKeyDeleted is why ownership ended when the key in the store was gone although the session lived, and the error of
	// going on with an attempt that was given up and of Session.AskToRelease when nobody is there any more.
	ErrKeyDeleted = errors.New("recipes: queue entry deleted")
	// ErrEpochChanged is why a session ended when the cluster turned out to have been restored from a backup meanwhile.
	ErrEpochChanged = errors.New("recipes: the cluster's epoch has changed")
	// ErrAttemptTaken is the error of an acquisition whose MutexOptions.Attempt another session's has.
	ErrAttemptTaken = errors.New("recipes: the attempt is another session's")
	// ErrWeightExceedsLimit is the error of an acquisition that no release can ever make possible.
	ErrWeightExceedsLimit = errors.New("recipes: weight exceeds the semaphore's limit")
	// ErrNoLimit is the error of using a semaphore that has no limit yet.
	ErrNoLimit = errors.New("recipes: the semaphore has no limit yet")
	// ErrNoCandidate is the error of a transfer to somebody who does not stand for the election.
	ErrNoCandidate = errors.New("recipes: no such candidate")
	// ErrUnlocked is the error of a Hold's checks after Unlock was called.
	ErrUnlocked = errors.New("recipes: unlocked")
	// ErrNoLeader is the error of Election.Leader while nobody leads.
	ErrNoLeader = errors.New("recipes: no leader")
	// ErrInvalidName is the error of a name, or an operation's id, that is empty or longer than MaxNameBytes.
	ErrInvalidName = errors.New("recipes: invalid name")
	// ErrBarrierBroken is the error of DoubleBarrier.Enter when a party died or gave up before all were in.
	ErrBarrierBroken = errors.New("recipes: barrier broken")
	// ErrPartiesDiffer is the error of DoubleBarrier.Enter when those who are in wait for another number of parties.
	ErrPartiesDiffer = errors.New("recipes: barrier has another number of parties")
	// ErrNoLatch is the error of a latch that is not set, or was deleted.
	ErrNoLatch = errors.New("recipes: no latch")
	// ErrLatchCount is Latch.Set's error when the latch stands with another count.
	ErrLatchCount = errors.New("recipes: latch has another count")
)

// LostError says that ownership, or the place in the queue, ended without being given up.
type LostError struct {
	What string // a word for its kind and its path, of a session its lease in hexadecimal
	Err  error  // why: ErrSessionClosed, ErrSessionExpired, ErrLeaseGone, ErrEpochChanged or ErrKeyDeleted
}

// Error says what was lost and why.
func (e *LostError) Error() string { return fmt.Sprintf("recipes: %s lost: %v", e.What, e.Err) }

// Is makes every LostError an ErrLost.
func (e *LostError) Is(target error) bool { return target == ErrLost }

// Unwrap is the reason.
func (e *LostError) Unwrap() error { return e.Err }

// refused reports whether err proves that the request changed nothing and would be refused again. After any other error
// the store may have applied the request, or may still do so: also when it says that it has no space, which etcd says of
// what it has just applied as well.
func refused(err error) bool {
	var e rpctypes.EtcdError
	if !errors.As(err, &e) || errors.Is(err, rpctypes.ErrTooManyRequests) { // that passes
		return false
	}
	switch e.Code() {
	case codes.InvalidArgument, codes.NotFound, codes.PermissionDenied, codes.FailedPrecondition, codes.Unauthenticated:
		return true
	}
	return false
}

// final reports whether the same request would fail with err again, whatever this one has done. That the store has too
// many requests at the moment is not final.
func final(err error) bool {
	if refused(err) || errors.Is(err, rpctypes.ErrNoSpace) {
		return true
	}
	// What is not the store's own is of the client's connection, or of something in between: the request is too large, say.
	switch status.Code(err) {
	case codes.InvalidArgument, codes.PermissionDenied, codes.Unauthenticated, codes.ResourceExhausted, codes.Unimplemented:
		return true
	}
	return false
}

// verdict reports whether err is what the store's answer means, which asking again would not change.
func verdict(err error) bool {
	for _, final := range []error{ErrLost, ErrLocked, ErrAttemptTaken, ErrNoCandidate, ErrKeyDeleted, ErrNotQueue, ErrInDoubt} {
		if errors.Is(err, final) {
			return true
		}
	}
	return false
}

// errReadMore is the error of an arbiter that has to read more to decide.
var errReadMore = errors.New("recipes: read more")

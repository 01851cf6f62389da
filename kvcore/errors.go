package kvcore

import "errors"

// What a request can be refused for. The text is for logs; the wire text is
// the business of whoever speaks a wire protocol.
var (
	ErrClosed           = errors.New("kvcore: store is closed")
	ErrCompacted        = errors.New("kvcore: required revision has been compacted")
	ErrCorrupt          = errors.New("kvcore: the members' stores differ")
	ErrDuplicateKey     = errors.New("kvcore: duplicate key in transaction")
	ErrEmptyKey         = errors.New("kvcore: key is empty")
	ErrFutureRevision   = errors.New("kvcore: required revision is in the future")
	ErrInvalidSort      = errors.New("kvcore: invalid sort option")
	ErrKeyNotFound      = errors.New("kvcore: key not found")
	ErrLeaseExists      = errors.New("kvcore: lease exists")
	ErrLeaseNotFound    = errors.New("kvcore: lease not found")
	ErrLeaseProvided    = errors.New("kvcore: lease is provided with ignore_lease")
	ErrLeaseTTLTooLarge = errors.New("kvcore: lease TTL is too large")
	ErrMalformed        = errors.New("kvcore: malformed request")
	ErrForcedAway       = errors.New("kvcore: member changes from before the cluster was forced to begin anew count for nothing")
	ErrLastVoter        = errors.New("kvcore: the last voting member cannot be removed")
	ErrMemberExists     = errors.New("kvcore: member exists")
	ErrMemberNotFound   = errors.New("kvcore: member not found")
	ErrMemberRemoved    = errors.New("kvcore: member was removed")
	ErrNotLearner       = errors.New("kvcore: member is not a learner")
	ErrPeerURLExists    = errors.New("kvcore: another member has this peer URL")
	ErrTooManyLearners  = errors.New("kvcore: too many learners")
	ErrNoSpace          = errors.New("kvcore: the store has reached its quota")
	ErrTooManyOps       = errors.New("kvcore: too many operations in transaction")
	ErrValueProvided    = errors.New("kvcore: value is provided with ignore_value")
)

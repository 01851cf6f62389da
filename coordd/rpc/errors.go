package rpc

import (
	"context"
	"errors"
	"fmt"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/coordd/token"
	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/auth"
	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/kvcore/lease"
	"github.com/coordd/coordd/recipes"
	"github.com/coordd/coordd/recipes/fence"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// errNotLeader says that this member does not lead, or no longer, or not yet
// fully, and cannot answer what only a leader may.
var errNotLeader = errors.New("rpc: not leader")

// wireErrors is the one table from what goes wrong inside to what etcd's
// clients see. They compare code and text, and try again on Unavailable.
var wireErrors = []struct{ inside, wire error }{
	{kvcore.ErrEmptyKey, rpctypes.ErrGRPCEmptyKey},
	{kvcore.ErrKeyNotFound, rpctypes.ErrGRPCKeyNotFound},
	{kvcore.ErrValueProvided, rpctypes.ErrGRPCValueProvided},
	{kvcore.ErrLeaseProvided, rpctypes.ErrGRPCLeaseProvided},
	{kvcore.ErrTooManyOps, rpctypes.ErrGRPCTooManyOps},
	{kvcore.ErrDuplicateKey, rpctypes.ErrGRPCDuplicateKey},
	{kvcore.ErrInvalidSort, rpctypes.ErrGRPCInvalidSortOption},
	{kvcore.ErrCompacted, rpctypes.ErrGRPCCompacted},
	{kvcore.ErrFutureRevision, rpctypes.ErrGRPCFutureRev},
	{kvcore.ErrLeaseNotFound, rpctypes.ErrGRPCLeaseNotFound},
	{kvcore.ErrLeaseExists, rpctypes.ErrGRPCLeaseExist},
	{kvcore.ErrLeaseTTLTooLarge, rpctypes.ErrGRPCLeaseTTLTooLarge},
	{kvcore.ErrMalformed, status.Error(codes.InvalidArgument, "etcdserver: malformed request")},
	{kvcore.ErrNoSpace, rpctypes.ErrGRPCNoSpace},
	{kvcore.ErrCorrupt, rpctypes.ErrGRPCCorrupt},
	{kvcore.ErrClosed, rpctypes.ErrGRPCStopped},

	{kvcore.ErrMemberExists, rpctypes.ErrGRPCMemberExist},
	{kvcore.ErrMemberNotFound, rpctypes.ErrGRPCMemberNotFound},
	{kvcore.ErrMemberRemoved, rpctypes.ErrGRPCMemberNotFound},
	{kvcore.ErrPeerURLExists, rpctypes.ErrGRPCPeerURLExist},
	{kvcore.ErrNotLearner, rpctypes.ErrGRPCMemberNotLearner},
	{kvcore.ErrTooManyLearners, rpctypes.ErrGRPCTooManyLearners},
	{kvcore.ErrLastVoter, rpctypes.ErrGRPCMemberNotEnoughStarted},
	{kvcore.ErrForcedAway, rpctypes.ErrGRPCUnhealthy}, // nobody waits for one of the log before
	{errNotEnoughStarted, rpctypes.ErrGRPCMemberNotEnoughStarted},
	{errUnhealthy, rpctypes.ErrGRPCUnhealthy},
	{errLearnerNotReady, rpctypes.ErrGRPCLearnerNotReady},

	{auth.ErrDenied, rpctypes.ErrGRPCPermissionDenied},
	{auth.ErrInvalidManagement, rpctypes.ErrGRPCInvalidAuthMgmt},
	{auth.ErrInvalidToken, rpctypes.ErrGRPCInvalidAuthToken},
	{auth.ErrNameTooLong, rpctypes.ErrGRPCRequestTooLarge},
	{auth.ErrNoPasswordUser, status.Error(codes.Unknown, "auth: authentication failed, password was given for no password user")},
	{auth.ErrNoRootRole, rpctypes.ErrGRPCRootRoleNotExist},
	{auth.ErrNoRootUser, rpctypes.ErrGRPCRootUserNotExist},
	{auth.ErrNotEnabled, rpctypes.ErrGRPCAuthNotEnabled},
	{auth.ErrOldRevision, rpctypes.ErrGRPCAuthOldRevision},
	{auth.ErrPermissionNotGiven, rpctypes.ErrGRPCPermissionNotGiven},
	{auth.ErrPermissionNotGranted, rpctypes.ErrGRPCPermissionNotGranted},
	{auth.ErrRoleEmpty, rpctypes.ErrGRPCRoleEmpty},
	{auth.ErrRoleExists, rpctypes.ErrGRPCRoleAlreadyExist},
	{auth.ErrRoleNotFound, rpctypes.ErrGRPCRoleNotFound},
	{auth.ErrRoleNotGranted, rpctypes.ErrGRPCRoleNotGranted},
	{auth.ErrUserEmpty, rpctypes.ErrGRPCUserEmpty},
	{auth.ErrUserExists, rpctypes.ErrGRPCUserAlreadyExist},
	{auth.ErrUserNotFound, rpctypes.ErrGRPCUserNotFound},
	{auth.ErrWrongPassword, rpctypes.ErrGRPCAuthFailed},
	{token.ErrVerifyOnly, status.Error(codes.Unknown, "auth: token signing attempted with verify-only key")},
	{backend.ErrBusy, status.Error(codes.FailedPrecondition, "coordd: this member is being defragmented already")},
	{backend.ErrNoRoom, status.Error(codes.FailedPrecondition, "coordd: this member's disk has no room for a copy of its store")},

	{lease.ErrNotFound, rpctypes.ErrGRPCLeaseNotFound},
	{lease.ErrExists, rpctypes.ErrGRPCLeaseExist},
	{lease.ErrNotPromoted, rpctypes.ErrGRPCLeaderChanged},

	{raftnode.ErrTransferFailed, status.Error(codes.Unknown, "etcdserver: request timed out, leader transfer took too long")},
	{raftnode.ErrNotLeader, rpctypes.ErrGRPCLeaderChanged},
	{raftnode.ErrNoLeader, rpctypes.ErrGRPCNoLeader},
	{raftnode.ErrLeaderChanged, rpctypes.ErrGRPCLeaderChanged},
	{raftnode.ErrStopped, rpctypes.ErrGRPCStopped},
	{raftnode.ErrTimeout, rpctypes.ErrGRPCTimeout},
	{raftnode.ErrTooManyRequests, rpctypes.ErrGRPCRequestTooManyRequests},
	{raftnode.ErrTooLarge, rpctypes.ErrGRPCRequestTooLarge},
	{errNotLeader, rpctypes.ErrGRPCLeaderChanged},

	{recipes.ErrLost, status.Error(codes.Unknown, "mutex: session is expired")},
	{recipes.ErrNoLeader, status.Error(codes.Unknown, "election: no leader")},
	{errNotElected, status.Error(codes.Unknown, "election: not leader")},
	{errNoLeadershipIn, status.Error(codes.Unknown, `"leader" field must be provided`)},
}

// errInvalid is what is wrong with a request of coord.v1 itself, and
// errTooManyStreams what is wrong with its moment.
var (
	errInvalid   = errors.New("rpc: invalid request")
	errNoAttempt = fmt.Errorf("%w: a session without an attempt", errInvalid)
	errNoSession = fmt.Errorf("%w: no session", errInvalid)
	errTooLong   = fmt.Errorf("%w: identity or reason is too long", errInvalid)

	errTooManyStreams = errors.New("rpc: too many acquisitions at this member")
)

func invalid(why error) error { return fmt.Errorf("%w: %w", errInvalid, why) }

// coordErrors is the part of the table for coord.v1, which is not etcd's: the
// text is that of the error. The first that err is counts.
var coordErrors = []struct {
	inside error
	code   codes.Code
}{
	{errInvalid, codes.InvalidArgument},
	{recipes.ErrInvalidName, codes.InvalidArgument},
	{recipes.ErrWrongToken, codes.InvalidArgument},
	{fence.ErrMalformed, codes.InvalidArgument},
	{errTooManyStreams, codes.ResourceExhausted},
	{recipes.ErrLocked, codes.AlreadyExists},
	{recipes.ErrAttemptTaken, codes.AlreadyExists},
	{recipes.ErrWeightExceedsLimit, codes.FailedPrecondition},
	{recipes.ErrNoLimit, codes.FailedPrecondition},
	{recipes.ErrNoCandidate, codes.NotFound},
	{recipes.ErrNoLeader, codes.NotFound},
	{recipes.ErrLost, codes.Aborted},
	{recipes.ErrLeaseGone, codes.Aborted},
	{recipes.ErrKeyDeleted, codes.NotFound},
}

// coordError gives an error of coord.v1 its wire form where that is not etcd's.
func coordError(err error) error {
	for _, e := range coordErrors {
		if errors.Is(err, e.inside) {
			return status.Error(e.code, err.Error())
		}
	}
	return err
}

// wireError returns err as clients shall see it: a gRPC status in it stays, an
// error of the table becomes its entry, a context's becomes its code.
func wireError(err error) error {
	if err == nil {
		return nil
	}
	var decided interface {
		error
		GRPCStatus() *status.Status
	}
	if errors.As(err, &decided) {
		return decided
	}
	var answered rpctypes.EtcdError // of a client in this process: see caller
	if errors.As(err, &answered) {
		return status.Error(answered.Code(), answered.Error())
	}
	for _, e := range wireErrors {
		if errors.Is(err, e.inside) {
			return e.wire
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	return status.Error(codes.Unknown, err.Error())
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/coordd/coordd/recipes"
)

// Exit codes, equal to etcdctl's. Success is 0.
const (
	exitError         = 1
	exitBadConnection = 2   // the lease commands' answer to any failure of a read or a renewal
	exitInvalidInput  = 3   // a transaction script that cannot be read
	exitBadFeature    = 4   // a known flag with a value that is not supported
	exitInterrupted   = 5   // a watch the server ended
	exitBadArguments  = 128 // wrong number or form of arguments, flags that exclude each other
)

// exitCodeError is an error that ends the process with a code other than 1.
type exitCodeError struct {
	code int
	err  error
}

func (e *exitCodeError) Error() string { return e.err.Error() }
func (e *exitCodeError) Unwrap() error { return e.err }

func withCode(code int, err error) error {
	if err == nil {
		return nil
	}
	return &exitCodeError{code: code, err: err}
}

func badArguments(format string, args ...any) error {
	return withCode(exitBadArguments, fmt.Errorf(format, args...))
}

// usageError is a command line that names a flag or command there is not, or a flag's value of the wrong kind.
type usageError struct {
	command string
	err     error
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// errReported is the failure of a command that has already written what failed to stderr.
var errReported = errors.New("already reported")

// report writes err, with advice where there is some, and returns the exit code it stands for.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return 0
	}
	if !errors.Is(err, errReported) {
		fmt.Fprintln(stderr, "Error:", textOf(err))
		if usage, ok := errors.AsType[*usageError](err); ok {
			fmt.Fprintf(stderr, "Run '%s --help' for usage.\n", usage.command)
		} else if advice := advise(err); advice != "" {
			fmt.Fprintln(stderr, "Hint:", advice)
		}
	}
	if coded, ok := errors.AsType[*exitCodeError](err); ok {
		return coded.code
	}
	return exitError
}

// textOf is an error's text, and of a server's bare answer what it says without gRPC's frame.
func textOf(err error) string {
	if answer, ok := err.(interface{ GRPCStatus() *status.Status }); ok { // not errors.As: what wraps it says more
		return answer.GRPCStatus().Message()
	}
	return err.Error()
}

// advise says what to do about an error whose text, etcd's own, does not.
func advise(err error) string {
	for _, a := range []struct {
		err    error
		advice string
	}{
		{rpctypes.ErrCompacted, "that part of the history is gone; use a later revision, or leave --rev out for the newest state"},
		{rpctypes.ErrFutureRev, "the cluster has not reached that revision yet; `coordctl get -w json KEY` shows the current one in its header"},
		{rpctypes.ErrLeaseNotFound, "the lease has expired or was revoked; `coordctl lease list` shows those that live, `coordctl lease grant TTL` makes a new one"},
		{rpctypes.ErrLeaseTTLTooLarge, "the time to live is in seconds and at most 9000000000"},
		{rpctypes.ErrKeyNotFound, "--ignore-value and --ignore-lease keep what the key has, so the key must exist; put it without them first"},
		{rpctypes.ErrValueProvided, "leave out the value, or --ignore-value"},
		{rpctypes.ErrLeaseProvided, "leave out --lease, or --ignore-lease"},
		{rpctypes.ErrEmptyKey, "a key has at least one byte; for all keys use --prefix or --from-key with an empty key"},
		{rpctypes.ErrDuplicateKey, "a transaction may change a key once in each of its branches"},
		{rpctypes.ErrTooManyOps, "split the transaction, or raise the server's --max-txn-ops"},
		{rpctypes.ErrRequestTooLarge, "send less at once, or raise the server's --max-request-bytes"},
		{rpctypes.ErrNoSpace, "the store is at its quota; make room with `coordctl del` and `coordctl compaction`, or raise the server's --quota-backend-bytes"},
		{rpctypes.ErrUserEmpty, "the cluster wants a user; pass --user NAME:PASSWORD"},
		{rpctypes.ErrPermissionDenied, "the user lacks a role for these keys; ask who runs the cluster, or pass another --user"},
		{rpctypes.ErrAuthFailed, "check --user and --password"},
		{rpctypes.ErrAuthNotEnabled, "the cluster knows no users; leave out --user and --password"},
		{rpctypes.ErrInvalidAuthToken, "log in anew; a token of --auth-jwt-token may have expired"},
		{rpctypes.ErrRootUserNotExist, "make one first: coordctl user add root"},
		{rpctypes.ErrUserNotFound, "`coordctl user list` shows the users"},
		{rpctypes.ErrUserAlreadyExist, "`coordctl user passwd NAME` changes the password of a user"},
		{rpctypes.ErrRoleNotFound, "`coordctl role list` shows the roles"},
		{rpctypes.ErrRoleNotGranted, "`coordctl user get NAME` shows the roles of a user"},
		{rpctypes.ErrPermissionNotGranted, "`coordctl role get NAME` shows what a role permits; a permission is revoked as a whole, with the same key and end or --prefix"},
		{rpctypes.ErrMemberNotFound, "`coordctl member list` shows the members"},
		{rpctypes.ErrPeerURLExist, "another member has that peer URL; `coordctl member list` shows which"},
		{rpctypes.ErrMemberLearnerNotReady, "start the learner's server, if it does not run, and try again when it has caught up"},
		{rpctypes.ErrMemberNotLearner, "only a learner can be promoted, and this member has a vote; `coordctl member list` shows which are learners"},
		{rpctypes.ErrTooManyLearners, "promote or remove the learner there is before you add another"},
		{rpctypes.ErrMemberNotEnoughStarted, "start the members that were added before you change the membership again"},
		{rpctypes.ErrUnhealthy, "`coordctl endpoint health --cluster` shows which members do not answer; mend those first"},
		{rpctypes.ErrBadLeaderTransferee, "`coordctl member list` shows the members; a learner cannot lead"},
		{rpctypes.ErrNoInflightDowngrade, "nothing is to be canceled"},
		{rpctypes.ErrDowngradeInProcess, "cancel it first: coordctl downgrade cancel"},
		{rpctypes.ErrInvalidDowngradeTargetVersion, "the target is one minor version below the cluster's, as in 3.6"},
		{rpctypes.ErrNoLeader, "most members are down or cut off; `coordctl endpoint status --cluster` shows which answer"},
		{recipes.ErrNoLimit, "give the semaphore a limit: --limit N, or coordctl semaphore limit NAME N"},
		{recipes.ErrWeightExceedsLimit, "take less, or raise the limit: coordctl semaphore limit NAME N"},
		{recipes.ErrPartiesDiffer, "all parties of a barrier give the same --parties"},
		{recipes.ErrNoLatch, "make it first: coordctl latch set NAME COUNT"},
		{recipes.ErrLatchCount, "coordctl latch delete NAME makes room for another count"},
		{rpctypes.ErrTimeout, "the cluster did not agree in time; `coordctl endpoint health --cluster` shows which members answer"},
	} {
		if errors.Is(err, a.err) || sameError(err, a.err) {
			return a.advice
		}
	}
	if nothing, ok := errors.AsType[*nothingHeldError](err); ok {
		return fmt.Sprintf("`coordctl locks` shows what is held; a lock of coordctl lock or etcdctl is shown by `coordctl get --prefix %s/`", nothing.name)
	}
	if asked, ok := errors.AsType[*unreachableError](err); ok && len(asked.ways) > 0 {
		return strings.Join(asked.ways, "; ") + "; check --endpoints, the TLS flags and that the server runs"
	}
	if unreachable(err) {
		return "no usable answer in time; check --endpoints, the TLS flags and that the server runs, or allow more with --command-timeout"
	}
	return ""
}

// sameError reports whether err carries target, an error of etcd's API. The client hands these out as values that are
// equal in code and text but not always identical.
func sameError(err, target error) bool {
	var got, want rpctypes.EtcdError
	return errors.As(err, &got) && errors.As(target, &want) && got == want
}

func unreachable(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded
}

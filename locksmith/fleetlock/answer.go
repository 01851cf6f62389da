package fleetlock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coordd/coordd/locksmith/slots"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What is wrong with a request, beside what package slots says.
var (
	errNotFound  = errors.New("there are /v1/pre-reboot and /v1/steady-state below the base URL, and nothing else")
	errMethod    = errors.New("only POST is served")
	errToken     = errors.New("a token is needed, as a bearer token or as the password of basic authentication")
	errHeader    = errors.New("the header fleet-lock-protocol: true is missing")
	errBody      = errors.New("the body is not that of a FleetLock request")
	errTooLarge  = errors.New("the body is too large for a FleetLock request")
	errGroup     = errors.New("unknown group")
	errTokenFile = errors.New("the tokens cannot be read")
)

// Kinds of errors that are decided by more than the table.
const (
	kindUnavailable = "store_unavailable"
	kindDenied      = "permission_denied"
	kindInternal    = "internal_error"
)

// refusals is the one table from errors to answers; the first that an error is
// counts. Kinds are few: clients use them as labels of metrics.
var refusals = []struct {
	is     error
	status int
	kind   string
}{
	{errNotFound, http.StatusNotFound, "not_found"},
	{errMethod, http.StatusMethodNotAllowed, "method_not_allowed"},
	{errToken, http.StatusUnauthorized, "unauthorized"},
	{errTokenFile, http.StatusInternalServerError, kindInternal},
	{errHeader, http.StatusBadRequest, "missing_fleet_lock_header"},
	{errTooLarge, http.StatusRequestEntityTooLarge, "invalid_request"},
	{errBody, http.StatusBadRequest, "invalid_request"},
	{slots.ErrName, http.StatusBadRequest, "invalid_request"},
	{errGroup, http.StatusBadRequest, "unknown_group"},
	{slots.ErrFull, http.StatusConflict, "failed_lock_semaphore_full"},
	{slots.ErrRefused, http.StatusConflict, "failed_lock_refused"},
	{rpctypes.ErrPermissionDenied, http.StatusForbidden, kindDenied},
	{rpctypes.ErrUserEmpty, http.StatusForbidden, kindDenied},
	{rpctypes.ErrUserNotFound, http.StatusForbidden, kindDenied},
	{rpctypes.ErrInvalidAuthToken, http.StatusForbidden, kindDenied},
	{rpctypes.ErrAuthFailed, http.StatusForbidden, kindDenied},
	{rpctypes.Error(rpctypes.ErrGRPCNotSupportedForLearner), http.StatusServiceUnavailable, kindUnavailable},
	{rpctypes.ErrCorrupt, http.StatusServiceUnavailable, kindUnavailable},
	{rpctypes.ErrNoSpace, http.StatusServiceUnavailable, kindUnavailable},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, kindUnavailable},
	{context.Canceled, http.StatusServiceUnavailable, kindUnavailable},
}

// answer is what a client gets. Success has no kind and no value.
type answer struct {
	status int
	Kind   string `json:"kind,omitempty"`
	Value  string `json:"value,omitempty"`
}

// refusalOf finds the answer to an error.
func refusalOf(err error) answer {
	for _, r := range refusals {
		if errors.Is(err, r.is) {
			return answer{r.status, r.kind, valueOf(r.kind, err)}
		}
	}
	// What the client gives up on by itself: the store is not there at the moment.
	if e, ok := errors.AsType[rpctypes.EtcdError](err); ok && e.Code() == codes.Unavailable || status.Code(err) == codes.Unavailable {
		return answer{http.StatusServiceUnavailable, kindUnavailable, valueOf(kindUnavailable, err)}
	}
	return answer{http.StatusInternalServerError, kindInternal, valueOf(kindInternal, err)}
}

// valueOf is the text for people. What is wrong with the server itself, as the name
// of a file, is for its log.
func valueOf(kind string, err error) string {
	if kind == kindInternal {
		return "the request failed; the server's log says why"
	}
	return shortened(err.Error())
}

// refuse is refusalOf, and logs what the operator has to look after. What clients
// do wrong they are told, and anybody can do it any number of times.
func (h *Handler) refuse(op operation, err error) answer {
	a, level := refusalOf(err), slog.LevelDebug
	if a.status >= http.StatusInternalServerError && !errors.Is(err, context.Canceled) {
		level = slog.LevelWarn
	}
	h.Logger.Log(context.Background(), level, "FleetLock request refused", "operation", op.name, "kind", a.Kind, "error", err)
	return a
}

func (a answer) write(w http.ResponseWriter) {
	body, err := json.Marshal(a)
	if err != nil {
		panic(fmt.Sprintf("fleetlock: marshal %+v: %v", a, err)) // two strings always can be
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("X-Content-Type-Options", "nosniff")
	switch a.status {
	case http.StatusMethodNotAllowed:
		header.Set("Allow", http.MethodPost)
	case http.StatusUnauthorized:
		header.Add("WWW-Authenticate", `Basic realm="fleetlock"`)
		header.Add("WWW-Authenticate", "Bearer")
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(append(body, '\n')) // a client that has gone is not there to be told
}

const (
	maxValueBytes  = 1 << 10 // of an answer's text
	maxNamedHolder = 5       // that an answer names
)

// shortened bounds a text for people: it may hold a client's id.
func shortened(s string) string {
	if len(s) <= maxValueBytes {
		return s
	}
	end := maxValueBytes
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// fullError names the holders, for whoever looks into the client's log for why a
// machine does not reboot.
func (h *Handler) fullError(ctx context.Context, g *slots.Group, full error) error {
	state, err := g.State(ctx)
	if err != nil || state.Available() > 0 { // one came free since: the client will ask again
		return full
	}
	var holders []string
	for _, r := range state.Holders[:min(len(state.Holders), maxNamedHolder)] {
		holders = append(holders, fmt.Sprintf("%s since %s", r.ID, r.Since.UTC().Format(time.RFC3339)))
	}
	if more := len(state.Holders) - len(holders); more > 0 {
		holders = append(holders, fmt.Sprintf("%d more", more))
	}
	if len(holders) == 0 { // the limit is 0
		return full
	}
	return fmt.Errorf("%w; held by %s", full, strings.Join(holders, ", "))
}

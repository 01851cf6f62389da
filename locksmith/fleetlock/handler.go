// Package fleetlock serves FleetLock v1, by which Zincati and fleetlockctl ask
// for a reboot slot, over the slots of package slots in any store that speaks
// the etcd v3 API.
//
// The protocol is two POSTs below a base URL, /v1/pre-reboot and
// /v1/steady-state, with the header fleet-lock-protocol: true and the body
// {"client_params":{"id":"…","group":"…"}}. 200 is success; everything else is
// an error, with {"kind":"…","value":"…"}. See
// https://coreos.github.io/zincati/development/fleetlock/protocol/.
//
// pre-reboot takes a slot for the id and succeeds while that id holds one,
// whoever took it: a machine that holds a slot may reboot, and again. steady-state
// gives back what pre-reboot took. A slot that an agent or an operator took for
// the same id stays, and so does one of another id; that is success too, because
// a client that holds nothing is steady. Nothing that is refused writes to the store.
package fleetlock

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/coordd/coordd/locksmith/slots"
	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// TakenBy is in the records of slots that pre-reboot took.
	TakenBy = "fleetlock"
	// AnyGroup in [Config].Groups lets every group ask.
	AnyGroup = "*"
	// DefaultTimeout is how long a request may take. Zincati waits 30 minutes for
	// an answer and asks again after 5: it is told early.
	DefaultTimeout = 5 * time.Second
)

// groupName is what the protocol allows.
var groupName = regexp.MustCompile(`^[a-zA-Z0-9.-]+$`)

// Config is what a [Handler] is made of.
type Config struct {
	Client    *clientv3.Client // its KV is used alone
	Prefix    string           // of the slots' keys; empty: slots.DefaultPrefix
	Groups    []string         // that may take slots; empty: slots.DefaultGroup. AnyGroup: all, and who asks makes keys at will
	TokenFile string           // one token a line, of which requests must show one; empty: none is needed
	Timeout   time.Duration    // of one request; 0: DefaultTimeout
	Now       func() time.Time // nil: time.Now
	Logger    *slog.Logger     // nil: nothing is logged
}

// Defaults fills in what is left empty.
func (c *Config) Defaults() {
	c.Prefix = cmp.Or(c.Prefix, slots.DefaultPrefix)
	c.Timeout = cmp.Or(c.Timeout, DefaultTimeout)
	if len(c.Groups) == 0 {
		c.Groups = []string{slots.DefaultGroup}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// Validate says what is wrong with c, or nil. The file of tokens is read.
func (c *Config) Validate() error {
	for _, name := range c.Groups {
		if name != AnyGroup && !groupName.MatchString(name) {
			return fmt.Errorf("fleetlock: group %q: FleetLock allows letters, digits, dots and hyphens", name)
		}
		if _, err := slots.NewGroup(c.Client, c.Prefix, name); err != nil {
			return fmt.Errorf("fleetlock: %w", err)
		}
	}
	if c.Timeout < 0 {
		return fmt.Errorf("fleetlock: a timeout of %v is below 0", c.Timeout)
	}
	if c.TokenFile == "" {
		return nil
	}
	_, err := readTokens(c.TokenFile)
	return err
}

// Handler serves the protocol at /v1/… of what is left of the path; a prefix of it
// is stripped by whoever mounts the handler. It may be used concurrently.
type Handler struct {
	Config
	requests *prometheus.CounterVec // by operation and result
}

// New returns a handler, or what is wrong with c.
func New(c Config) (*Handler, error) {
	c.Defaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &Handler{Config: c, requests: newRequests()}, nil
}

// operation is one of the protocol's requests.
type operation struct {
	name string
	run  func(*Handler, context.Context, *slots.Group, string) error
}

// operations by their path. That which is none has a name for the metrics.
var (
	operations = map[string]operation{
		"/v1/pre-reboot":   {"pre-reboot", (*Handler).preReboot},
		"/v1/steady-state": {"steady-state", (*Handler).steadyState},
	}
	noOperation = operation{name: "unknown"}
)

// ServeHTTP answers a request, always with JSON. A base URL may end in a slash or
// not: clients put one between it and the path in either case.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	op, ok := operations["/"+strings.TrimLeft(r.URL.Path, "/")]
	if !ok {
		op = noOperation
	}
	a := h.answer(w, r, op)
	h.requests.WithLabelValues(op.name, cmp.Or(a.Kind, "ok")).Inc()
	a.write(w)
}

// answer never panics: the client is told, and a broken connection tells nothing.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, op operation) (a answer) {
	defer func() {
		if why := recover(); why != nil {
			h.Logger.Error("FleetLock request failed", "operation", op.name, "panic", why, "stack", string(debug.Stack()))
			a = refusalOf(fmt.Errorf("fleetlock: %v", why))
		}
	}()
	ctx, cancel := context.WithTimeout(r.Context(), h.Timeout)
	defer cancel()
	if err := h.serve(ctx, w, r, op); err != nil {
		return h.refuse(op, err)
	}
	return answer{status: http.StatusOK}
}

// serve checks a request from the outside in, and runs it.
func (h *Handler) serve(ctx context.Context, w http.ResponseWriter, r *http.Request, op operation) error {
	switch {
	case op.run == nil:
		return errNotFound
	case r.Method != http.MethodPost:
		return errMethod
	}
	if err := h.authorize(r); err != nil {
		return err
	}
	if r.Header.Get("fleet-lock-protocol") != "true" {
		return errHeader
	}
	p, err := h.read(w, r)
	if err != nil {
		return err
	}
	group, err := slots.NewGroup(h.Client, h.Prefix, p.group)
	if err != nil {
		return err
	}
	return op.run(h, ctx, group, p.id)
}

// preReboot takes a slot, or finds that the machine has one.
func (h *Handler) preReboot(ctx context.Context, g *slots.Group, id string) error {
	if !slices.Contains(h.Groups, g.Name()) && !slices.Contains(h.Groups, AnyGroup) {
		return fmt.Errorf("%w: %q is not among those served: %s", errGroup, g.Name(), strings.Join(h.Groups, ", "))
	}
	slot, err := g.Acquire(ctx, slots.Record{ID: id, TakenBy: TakenBy, Since: h.Now().UTC()})
	if errors.Is(err, slots.ErrFull) {
		return h.fullError(ctx, g, err)
	}
	if err != nil {
		return err
	}
	h.Logger.Info("machine may reboot", "group", g.Name(), "id", id, "fence", slot.Fence())
	return nil
}

// steadyState gives back what preReboot took. It asks the store about any group:
// one that is served no longer must not keep its slots.
func (h *Handler) steadyState(ctx context.Context, g *slots.Group, id string) error {
	slot, record, err := g.Find(ctx, id)
	switch {
	case errors.Is(err, slots.ErrNotHeld):
		return nil
	case err != nil:
		return err
	case record.TakenBy != TakenBy:
		h.Logger.Debug("machine is steady; its slot was not taken by FleetLock and stays",
			"group", g.Name(), "id", id, "taken_by", record.TakenBy)
		return nil
	}
	if err := slot.Release(ctx); err != nil && !errors.Is(err, slots.ErrNotHeld) {
		return err
	}
	h.Logger.Info("machine is steady and has given its slot back", "group", g.Name(), "id", id, "fence", slot.Fence())
	return nil
}

// Ping asks whether the store answers, within the time of a request.
func (h *Handler) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	name := h.Groups[0]
	if name == AnyGroup {
		name = slots.DefaultGroup
	}
	group, err := slots.NewGroup(h.Client, h.Prefix, name)
	if err != nil {
		return err
	}
	_, err = group.State(ctx)
	return err
}

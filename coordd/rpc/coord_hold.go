package rpc

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"sync"
	"time"

	"github.com/coordd/coordd/proto/coordv1"
	"github.com/coordd/coordd/recipes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// The streams of coord.v1 that acquire something are one: a session that this
// member keeps alive for the caller, an acquisition, and events about both. When
// the caller goes, or this member stops, the session is left to its time to live
// with all that is in the store, and an acquisition of the same session and
// attempt goes on with it.

// beatsPerTTL is how often a caller hears of its session.
const beatsPerTTL = 4

// maxSlotTokens bounds the tokens that are sent of one semaphore's hold.
const maxSlotTokens = 64

// maxCoordStreams bounds the calls of coord.v1 that wait or hold, of this member. One takes about
// 110 KB: a session and its watches run in this process.
const maxCoordStreams = 10_000

// acquisition is a request to acquire something.
type acquisition interface {
	GetName() string
	GetTtlSeconds() int64
	GetReason() string
	GetIdentity() string
	GetSession() int64
	GetAttempt() string
}

// acquire is how something is acquired, with the attempt named.
type acquire func(ctx context.Context, session *recipes.Session, attempt string) (*recipes.Hold, error)

// holder is one stream.
type holder struct {
	stream  grpc.ServerStreamingServer[coordv1.HoldEvent]
	session *recipes.Session
	resumed bool
	attempt string
	beat    *time.Ticker
}

// hold serves a stream. What can be wrong with a request is looked at before
// anything is stored.
func (s *Server) hold(stream grpc.ServerStreamingServer[coordv1.HoldEvent], r acquisition, quiet bool, take acquire) error {
	options, err := s.checkAcquisition(stream.Context(), r)
	if err != nil {
		return coordError(err)
	}
	leave, err := s.admitCoord()
	if err != nil {
		return coordError(err)
	}
	defer leave()
	caller := s.caller(stream.Context())
	client := caller.client()
	defer client.Close()
	options.Leases = caller.leaseClient()
	h := holder{stream: stream, resumed: r.GetSession() != 0, attempt: r.GetAttempt()}
	if h.attempt == "" {
		h.attempt = newAttempt()
	}
	if h.resumed {
		h.session, err = recipes.ResumeSession(stream.Context(), client, clientv3.LeaseID(r.GetSession()), options)
	} else {
		h.session, err = recipes.NewSession(stream.Context(), client, options)
	}
	if err != nil {
		return coordError(err)
	}
	// It ends in this process in any case, and before the client.
	defer h.session.Detach()
	defer context.AfterFunc(stream.Context(), h.session.Detach)()
	h.beat = time.NewTicker(max(h.session.Remaining()/beatsPerTTL, time.Millisecond))
	defer h.beat.Stop()
	return coordError(h.serve(quiet, take))
}

// admitCoord counts a call that may last, and refuses one too many.
func (s *Server) admitCoord() (leave func(), err error) {
	leave = func() { s.coordStreams.Add(-1) }
	if s.coordStreams.Add(1) > maxCoordStreams {
		leave()
		return nil, errTooManyStreams
	}
	return leave, nil
}

func newAttempt() string {
	var id [16]byte
	rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// checkAcquisition refuses what recipes would, before a session is made.
func (s *Server) checkAcquisition(ctx context.Context, r acquisition) (*recipes.SessionOptions, error) {
	options := &recipes.SessionOptions{TTLSeconds: r.GetTtlSeconds(), Identity: r.GetIdentity()}
	if options.Identity == "" {
		options.Identity = addressOf(ctx)
	}
	options.Defaults()
	place := recipes.MutexOptions{Reason: r.GetReason(), Attempt: r.GetAttempt()}
	place.Defaults()
	if err := cmp.Or(checkName(r.GetName()), options.Validate(), place.Validate()); err != nil {
		return nil, invalid(err)
	}
	if r.GetSession() != 0 && r.GetAttempt() == "" {
		return nil, errNoAttempt
	}
	return options, nil
}

func checkName(name string) error {
	if name == "" || len(name) > recipes.MaxNameBytes {
		return recipes.ErrInvalidName
	}
	return nil
}

// addressOf is where a call came from.
func addressOf(ctx context.Context) string {
	if from := metadata.ValueFromIncomingContext(ctx, "x-forwarded-for"); len(from) > 0 { // by way of a gateway
		return from[0][:min(len(from[0]), recipes.MaxIdentityBytes)]
	}
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return "unknown"
}

// serve acquires and then tells of the hold until it ends.
func (h *holder) serve(quiet bool, take acquire) error {
	if !quiet {
		begun := &coordv1.Waiting{Session: int64(h.session.Lease()), Attempt: h.attempt}
		if err := h.stream.Send(&coordv1.HoldEvent{Event: &coordv1.HoldEvent_Waiting{Waiting: begun}}); err != nil {
			return err
		}
	}
	hold, err := h.acquire(quiet, take)
	if err != nil {
		h.close()
		return err
	}
	if err := h.stream.Send(&coordv1.HoldEvent{Event: &coordv1.HoldEvent_Granted{Granted: h.granted(hold)}}); err != nil {
		return err
	}
	return h.follow(hold)
}

// acquire waits until take returns. Its context is not the call's: what the call
// has in the queue stays there when the call ends, as the session is detached.
func (h *holder) acquire(quiet bool, take acquire) (hold *recipes.Hold, err error) {
	var taking sync.WaitGroup
	defer taking.Wait()
	done := make(chan struct{})
	taking.Go(func() {
		defer close(done)
		hold, err = take(context.Background(), h.session, h.attempt)
	})
	for {
		select {
		case <-done:
			return hold, err
		case <-h.beat.C:
			if quiet {
				continue
			}
			if failed := h.renewed(); failed != nil {
				h.session.Detach()
				<-done
				return nil, failed
			}
		}
	}
}

// follow tells of the hold until it ends, and returns nil if it was given up.
func (h *holder) follow(hold *recipes.Hold) error {
	asked := hold.ReleaseAsked()
	for {
		var err error
		select {
		case <-h.stream.Context().Done():
			return context.Cause(h.stream.Context())
		case <-hold.Context().Done():
			return h.ended(hold)
		case <-asked:
			asked = nil
			err = h.releaseAsked(hold.Asker())
		case <-h.beat.C:
			err = h.renewed()
		}
		if err != nil {
			return err
		}
	}
}

// ended says how a hold has ended, and ends its session.
func (h *holder) ended(hold *recipes.Hold) error {
	lost := context.Cause(hold.Context())
	if h.stream.Context().Err() != nil {
		return lost
	}
	if errors.Is(lost, recipes.ErrKeyDeleted) {
		if given, err := hold.GivenUp(h.stream.Context()); err == nil && given {
			lost = nil
		}
	}
	h.close()
	return lost
}

// close ends a session for good that began with this call and has nothing to
// hold any more. One that was resumed is left to its time to live: what else it
// may hold is not known here.
func (h *holder) close() {
	if h.stream.Context().Err() == nil && !h.resumed {
		_ = h.session.Close() // unconfirmed, it ends by its time to live
	}
}

func (h *holder) granted(hold *recipes.Hold) *coordv1.Granted {
	g := &coordv1.Granted{
		Token: hold.Token().String(), Key: hold.Key(), CreateRevision: hold.Token().Revision(),
		Session: int64(h.session.Lease()), Attempt: h.attempt, ValidForMs: h.validForMs(),
	}
	if hold.Token().Fields().Slot == "" {
		return g
	}
	for token := range hold.Tokens() {
		if len(g.SlotTokens) == maxSlotTokens {
			break
		}
		g.SlotTokens = append(g.SlotTokens, token.String())
	}
	return g
}

func (h *holder) renewed() error {
	return h.stream.Send(&coordv1.HoldEvent{Event: &coordv1.HoldEvent_Renewed{Renewed: &coordv1.Renewed{ValidForMs: h.validForMs()}}})
}

func (h *holder) validForMs() uint32 { return uint32(h.session.Remaining().Milliseconds()) }

func (h *holder) releaseAsked(by *recipes.Holder) error {
	asked := &coordv1.ReleaseAsked{Identity: by.Identity, Host: by.Host, Reason: by.Reason}
	return h.stream.Send(&coordv1.HoldEvent{Event: &coordv1.HoldEvent_ReleaseAsked{ReleaseAsked: asked}})
}

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/mirror"
)

// mirrorReport is how often make-mirror prints the number of keys it has written.
const mirrorReport = 30 * time.Second

func newMakeMirrorCommand(s *session) *cobra.Command {
	var m mirrorFlags
	cmd := &cobra.Command{
		Use:   "make-mirror <destination>",
		Short: "Copy keys to another cluster, and then every change to them",
		Long: fmt.Sprintf(`Copy keys to another cluster, and then every change to them, until interrupted. Each change is one transaction there
too, unless it has more operations than --max-txn-ops. Leases are not copied. Every %v it prints how many keys it has
written or deleted so far.`, mirrorReport),
		Example: `  coordctl --endpoints 10.0.0.1:2379 make-mirror --prefix /config/ 10.9.0.1:2379
  coordctl make-mirror --prefix /a/ --dest-prefix /b/ --rev 1200 10.9.0.1:2379`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := s.checkFormat(); err != nil {
				return err
			}
			if len(args) != 1 {
				return badArguments("make-mirror needs one destination; it has %d arguments", len(args))
			}
			if err := m.complete(); err != nil {
				return err
			}
			source, err := s.client(s.endpoints...)
			if err != nil {
				return err
			}
			defer source.Close()
			destination, err := m.destination(s, cmd, args[0])
			if err != nil {
				return err
			}
			defer destination.Close()
			return m.run(cmd, source, destination)
		},
	}
	m.bind(cmd)
	return cmd
}

// mirrorFlags are the flags of make-mirror.
type mirrorFlags struct {
	prefix, destPrefix string
	noDestPrefix       bool
	rev                int64
	maxTxnOps          uint
	secure             clientv3.SecureConfig
	user, password     string
}

func (m *mirrorFlags) bind(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&m.prefix, "prefix", "", "copy the keys that begin with this")
	fs.Int64Var(&m.rev, "rev", 0, "copy only the changes from this revision on, not what was there before")
	fs.UintVar(&m.maxTxnOps, "max-txn-ops", 128, "most operations in a transaction at the destination")
	fs.StringVar(&m.destPrefix, "dest-prefix", "", "what the keys begin with at the destination, instead of --prefix")
	fs.BoolVar(&m.noDestPrefix, "no-dest-prefix", false, "leave out --prefix at the destination")
	fs.StringVar(&m.secure.Cert, "dest-cert", "", "file with the client's TLS certificate for the destination")
	fs.StringVar(&m.secure.Key, "dest-key", "", "file with the key of that certificate")
	fs.StringVar(&m.secure.Cacert, "dest-cacert", "", "file with the authorities that sign the destination's certificates")
	fs.BoolVar(&m.secure.InsecureTransport, "dest-insecure-transport", true, "allow a connection without TLS to the destination")
	fs.StringVar(&m.user, "dest-user", "", "user of the destination, NAME:PASSWORD, or NAME with --dest-password; asks for a password that is not given")
	fs.StringVar(&m.password, "dest-password", "", "password of --dest-user")
}

func (m *mirrorFlags) complete() error {
	switch {
	case m.noDestPrefix && m.destPrefix != "":
		return badArguments("`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one")
	case m.maxTxnOps == 0:
		return badArguments("--max-txn-ops is at least 1")
	case !m.noDestPrefix && m.destPrefix == "":
		m.destPrefix = m.prefix
	}
	return nil
}

// destination returns a client for the cluster to copy to. What the flags for it do not say is as for the source.
func (m *mirrorFlags) destination(s *session, cmd *cobra.Command, endpoint string) (*clientv3.Client, error) {
	d := &session{spec: s.spec, secure: m.secure, user: m.user, password: m.password}
	d.auth = func() (*clientv3.AuthConfig, error) { return d.credentials(cmd, "Destination Password: ") }
	return d.client(endpoint)
}

func (m *mirrorFlags) run(cmd *cobra.Command, source, destination *clientv3.Client) error {
	ctx, stop := untilInterrupted(cmd.Context())
	defer stop()
	w := &mirrorWriter{to: destination, flags: m}
	go w.report(ctx, cmd)
	err := m.copy(ctx, source, w)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (m *mirrorFlags) copy(ctx context.Context, source *clientv3.Client, w *mirrorWriter) error {
	syncer := mirror.NewSyncer(source, m.prefix, max(m.rev-1, 0))
	if m.rev <= 1 {
		answers, failed := syncer.SyncBase(ctx)
		for answer := range answers {
			if err := w.putAll(ctx, answer.Kvs); err != nil {
				return err
			}
		}
		if err := <-failed; err != nil {
			return fmt.Errorf("read the keys to copy: %w", err)
		}
	}
	for changes := range syncer.SyncUpdates(ctx) {
		if err := changes.Err(); err != nil {
			return fmt.Errorf("watch the keys to copy: %w", err)
		}
		if err := w.apply(ctx, changes.Events); err != nil {
			return err
		}
	}
	return errors.New("the watch of the keys to copy has ended")
}

// mirrorWriter writes keys to the destination.
type mirrorWriter struct {
	to      *clientv3.Client
	flags   *mirrorFlags
	written atomic.Int64 // keys put or deleted
}

// report prints the number of keys written now and then, until ctx ends.
func (w *mirrorWriter) report(ctx context.Context, cmd *cobra.Command) {
	ticker := time.NewTicker(mirrorReport)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			fmt.Fprintln(cmd.OutOrStdout(), w.written.Load())
		}
	}
}

// mirrorBytes bounds a transaction of the first copy: a request has a limit, of 1.5 MiB by default.
const mirrorBytes = 512 << 10

// putAll puts keys in as few transactions as may be.
func (w *mirrorWriter) putAll(ctx context.Context, kvs []*mvccpb.KeyValue) error {
	var ops []clientv3.Op
	bytes := 0
	for _, kv := range kvs {
		size := len(kv.GetKey()) + len(kv.GetValue())
		if bytes += size; bytes > mirrorBytes {
			if err := w.commit(ctx, ops); err != nil {
				return err
			}
			ops, bytes = nil, size
		}
		ops = append(ops, clientv3.OpPut(w.key(kv), string(kv.GetValue())))
	}
	return w.commit(ctx, ops)
}

// apply makes the changes of each revision in one transaction, so that a reader there never sees half of one.
func (w *mirrorWriter) apply(ctx context.Context, events []*clientv3.Event) error {
	var ops []clientv3.Op
	for i, event := range events {
		if i > 0 && event.Kv.GetModRevision() != events[i-1].Kv.GetModRevision() {
			if err := w.commit(ctx, ops); err != nil {
				return err
			}
			ops = nil
		}
		if event.Type == mvccpb.Event_DELETE {
			ops = append(ops, clientv3.OpDelete(w.key(event.Kv)))
		} else {
			ops = append(ops, clientv3.OpPut(w.key(event.Kv), string(event.Kv.GetValue())))
		}
	}
	return w.commit(ctx, ops)
}

// commit writes ops, in as many transactions as the limit demands.
func (w *mirrorWriter) commit(ctx context.Context, ops []clientv3.Op) error {
	for len(ops) > 0 {
		n := min(len(ops), int(w.flags.maxTxnOps))
		if _, err := w.to.Txn(ctx).Then(ops[:n]...).Commit(); err != nil {
			return fmt.Errorf("write to the destination: %w", err)
		}
		w.written.Add(int64(n))
		ops = ops[n:]
	}
	return nil
}

// key is what a key is called at the destination.
func (w *mirrorWriter) key(kv *mvccpb.KeyValue) string {
	return w.flags.destPrefix + strings.TrimPrefix(string(kv.GetKey()), w.flags.prefix)
}

package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// delGrace is how long del waits before it deletes a range that was not confirmed with --range, as etcdctl does: a
// second argument is more often meant as a second key.
const delGrace = 2 * time.Second

// delFlags are the flags of del, on the command line and in a transaction.
type delFlags struct {
	keys   keyRange
	prevKV bool
	ranged bool
}

func (f *delFlags) bind(fs *pflag.FlagSet) {
	f.keys.bindPrefix(fs)
	f.keys.bindFromKey(fs)
	fs.BoolVar(&f.prevKV, "prev-kv", false, "also print the deleted keys and values")
	fs.BoolVar(&f.ranged, "range", false, "the second argument is meant as the end of a range: delete at once")
}

func (f *delFlags) op(args []string) (clientv3.Op, error) {
	key, opts, err := f.keys.parse("del", args)
	if err != nil {
		return clientv3.Op{}, err
	}
	if f.prevKV {
		opts = append(opts, clientv3.WithPrevKV())
	}
	return clientv3.OpDelete(key, opts...), nil
}

func newDelCommand(s *session) *cobra.Command {
	var f delFlags
	cmd := &cobra.Command{
		Use:   "del <key> [range_end]",
		Short: "Delete a key, or the keys of a range",
		Long: fmt.Sprintf(`Delete a key, or the keys of a range. Prints how many there were.

With a range end but without --range there is a pause of %v first, in which Ctrl-C still helps.`, delGrace),
		Example: `  coordctl del greeting
  coordctl del --prefix /services/web/
  coordctl del --range a f                  # a and all keys after it that come before f`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, deleteResult{})
			if err != nil {
				return err
			}
			op, err := f.op(args)
			if err != nil {
				return err
			}
			if len(args) == 2 && !f.ranged {
				fmt.Fprintf(cmd.ErrOrStderr(), "Warning: deleting all keys from %q up to %q in %v; press Ctrl-C to stop. --range skips this pause.\n", args[0], args[1], delGrace)
				time.Sleep(delGrace)
			}
			resp, err := s.do(cmd, op)
			if err != nil {
				return err
			}
			return p.print(deleteResult{(*pb.DeleteRangeResponse)(resp.Del())})
		},
	}
	f.bind(cmd.Flags())
	return cmd
}

type deleteResult struct{ *pb.DeleteRangeResponse }

func (r deleteResult) simple(t *text) {
	t.linef("%d", r.GetDeleted())
	for _, kv := range r.GetPrevKvs() {
		t.pair(kv)
	}
}

func (r deleteResult) fields(t *text) {
	t.header(r.GetHeader())
	t.field("Deleted", r.GetDeleted())
	for _, kv := range r.GetPrevKvs() {
		t.keyValue("Prev", kv)
	}
}

func (r deleteResult) value(bool) any { return r.DeleteRangeResponse }

package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// getFlags are the flags of get, on the command line and in a transaction.
type getFlags struct {
	keys                 keyRange
	consistency          string
	order, sortBy        string
	limit, rev           int64
	keysOnly, countOnly  bool
	minCreate, maxCreate int64
	minMod, maxMod       int64
}

func (f *getFlags) bind(fs *pflag.FlagSet) {
	f.keys.bindPrefix(fs)
	f.keys.bindFromKey(fs)
	fs.StringVar(&f.consistency, "consistency", "l", "l reads the newest state (linearizable); s reads what the member has, perhaps stale (serializable)")
	fs.StringVar(&f.order, "order", "", "ASCEND or DESCEND")
	fs.StringVar(&f.sortBy, "sort-by", "", "CREATE, KEY, MODIFY, VALUE or VERSION")
	fs.Int64Var(&f.limit, "limit", 0, "most keys to return; 0 means all")
	fs.Int64Var(&f.rev, "rev", 0, "read the keys as of this revision; 0 means the newest")
	fs.BoolVar(&f.keysOnly, "keys-only", false, "return keys without their values")
	fs.BoolVar(&f.countOnly, "count-only", false, "return only the number of keys (with --write-out fields, json or table)")
	fs.Int64Var(&f.minCreate, "min-create-rev", 0, "leave out keys created before this revision")
	fs.Int64Var(&f.maxCreate, "max-create-rev", 0, "leave out keys created after this revision")
	fs.Int64Var(&f.minMod, "min-mod-rev", 0, "leave out keys last modified before this revision")
	fs.Int64Var(&f.maxMod, "max-mod-rev", 0, "leave out keys last modified after this revision")
}

// op returns the operation, as a transaction takes it.
func (f *getFlags) op(args []string) (clientv3.Op, error) {
	key, opts, err := f.options(args)
	if err != nil {
		return clientv3.Op{}, err
	}
	return clientv3.OpGet(key, opts...), nil
}

func (f *getFlags) options(args []string) (key string, opts []clientv3.OpOption, err error) {
	key, opts, err = f.keys.parse("get", args)
	if err != nil {
		return "", nil, err
	}
	if f.keysOnly && f.countOnly {
		return "", nil, badArguments("get: --keys-only and --count-only exclude each other")
	}
	for _, bound := range []struct {
		name     string
		min, max int64
	}{{"create", f.minCreate, f.maxCreate}, {"mod", f.minMod, f.maxMod}} {
		if bound.max > 0 && bound.min > bound.max {
			return "", nil, withCode(exitBadFeature, fmt.Errorf("get: --min-%s-rev %d is above --max-%s-rev %d", bound.name, bound.min, bound.name, bound.max))
		}
	}
	serializable, err := parseConsistency(f.consistency)
	if err != nil {
		return "", nil, err
	}
	target, order, err := f.sort()
	if err != nil {
		return "", nil, err
	}
	opts = append(opts,
		clientv3.WithSort(target, order), clientv3.WithLimit(f.limit), clientv3.WithRev(f.rev),
		clientv3.WithMinCreateRev(f.minCreate), clientv3.WithMaxCreateRev(f.maxCreate),
		clientv3.WithMinModRev(f.minMod), clientv3.WithMaxModRev(f.maxMod))
	if serializable {
		opts = append(opts, clientv3.WithSerializable())
	}
	if f.keysOnly {
		opts = append(opts, clientv3.WithKeysOnly())
	}
	if f.countOnly {
		opts = append(opts, clientv3.WithCountOnly())
	}
	return key, opts, nil
}

func (f *getFlags) sort() (target clientv3.SortTarget, order clientv3.SortOrder, err error) {
	switch strings.ToUpper(f.order) {
	case "":
		order = clientv3.SortNone
	case "ASCEND":
		order = clientv3.SortAscend
	case "DESCEND":
		order = clientv3.SortDescend
	default:
		return 0, 0, withCode(exitBadFeature, fmt.Errorf("get: --order is ASCEND or DESCEND, not %q", f.order))
	}
	switch strings.ToUpper(f.sortBy) {
	case "", "KEY":
		target = clientv3.SortByKey
	case "CREATE":
		target = clientv3.SortByCreateRevision
	case "MODIFY":
		target = clientv3.SortByModRevision
	case "VALUE":
		target = clientv3.SortByValue
	case "VERSION":
		target = clientv3.SortByVersion
	default:
		return 0, 0, withCode(exitBadFeature, fmt.Errorf("get: --sort-by is CREATE, KEY, MODIFY, VALUE or VERSION, not %q", f.sortBy))
	}
	return target, order, nil
}

// parseConsistency reads a --consistency flag.
func parseConsistency(s string) (serializable bool, err error) {
	switch s {
	case "l":
		return false, nil
	case "s":
		return true, nil
	}
	return false, withCode(exitBadFeature, fmt.Errorf("--consistency is l (linearizable) or s (serializable), not %q", s))
}

func newGetCommand(s *session) *cobra.Command {
	var f getFlags
	var valueOnly, stream bool
	cmd := &cobra.Command{
		Use:   "get <key> [range_end]",
		Short: "Print a key, or the keys of a range, with their values",
		Example: `  coordctl get greeting
  coordctl get --prefix /services/ --keys-only
  coordctl get a f                          # a and all keys after it that come before f
  coordctl get --prefix /jobs/ --sort-by CREATE --order DESCEND --limit 1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			key, opts, err := f.options(args)
			if err != nil {
				return err
			}
			p, err := s.printer(cmd, rangeResult{})
			if err != nil {
				return err
			}
			if f.countOnly && p.format == "simple" {
				return badArguments("get: --count-only has nothing to show as simple output; add --write-out fields or json")
			}
			if valueOnly && p.format != "simple" {
				return badArguments("get: --print-value-only is for --write-out simple")
			}
			p.valueOnly = valueOnly
			get := clientv3.KV.Get
			if stream {
				get = getStream
			}
			return s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
				resp, err := get(c, ctx, key, opts...)
				if err != nil {
					return err
				}
				return p.print(rangeResult{(*pb.RangeResponse)(resp), f.countOnly})
			})
		},
	}
	f.bind(cmd.Flags())
	cmd.Flags().BoolVar(&stream, "stream", false, "have the server send a large range in parts (etcd 3.7 and later)")
	completeFlag(cmd, "consistency", "l", "s")
	completeFlag(cmd, "order", "ASCEND", "DESCEND")
	completeFlag(cmd, "sort-by", "CREATE", "KEY", "MODIFY", "VALUE", "VERSION")
	cmd.Flags().BoolVar(&valueOnly, "print-value-only", false, "print only the values (with --write-out simple)")
	return cmd
}

// getStream is a Get over the streaming call, which keeps the server from holding a large answer as a whole.
func getStream(c clientv3.KV, ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	stream, err := c.GetStream(ctx, key, opts...)
	if err != nil {
		return nil, err
	}
	return clientv3.GetStreamToGetResponse(stream)
}

type rangeResult struct {
	*pb.RangeResponse
	countOnly bool
}

func (r rangeResult) simple(t *text) {
	for _, kv := range r.GetKvs() {
		t.pair(kv)
	}
}

func (r rangeResult) fields(t *text) {
	t.header(r.GetHeader())
	for _, kv := range r.GetKvs() {
		t.keyValue("", kv)
	}
	t.field("More", r.GetMore())
	t.field("Count", r.GetCount())
}

func (r rangeResult) value(bool) any { return r.RangeResponse }

func (r rangeResult) table(t *text) (header []string, rows [][]string) {
	if r.countOnly {
		return []string{"count"}, [][]string{{strconv.FormatInt(r.GetCount(), 10)}}
	}
	header = []string{"key", "value", "create revision", "mod revision", "version", "lease"}
	for _, kv := range r.GetKvs() {
		rows = append(rows, slices.Concat([]string{t.cell(kv.GetKey()), t.cell(kv.GetValue())}, []string{
			strconv.FormatInt(kv.GetCreateRevision(), 10),
			strconv.FormatInt(kv.GetModRevision(), 10),
			strconv.FormatInt(kv.GetVersion(), 10),
			strconv.FormatInt(kv.GetLease(), 16),
		}))
	}
	return header, rows
}

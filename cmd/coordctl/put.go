package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// putFlags are the flags of put, on the command line and in a transaction.
type putFlags struct {
	lease                    string
	prevKV                   bool
	ignoreValue, ignoreLease bool
}

func (f *putFlags) bind(fs *pflag.FlagSet) {
	fs.StringVar(&f.lease, "lease", "0", "ID of the lease the key lives with, in hexadecimal; 0 means none")
	fs.BoolVar(&f.prevKV, "prev-kv", false, "also print what the key held before")
	fs.BoolVar(&f.ignoreValue, "ignore-value", false, "keep the key's value, change its lease")
	fs.BoolVar(&f.ignoreLease, "ignore-lease", false, "keep the key's lease, change its value")
}

// op returns the operation. A value missing from args is read from stdin; a nil stdin has none.
func (f *putFlags) op(args []string, stdin io.Reader) (clientv3.Op, error) {
	var value string
	switch {
	case len(args) == 0 || len(args) > 2:
		return clientv3.Op{}, badArguments("put needs a key and a value; it has %d arguments", len(args))
	case f.ignoreValue && len(args) == 2:
		return clientv3.Op{}, badArguments("put: --ignore-value keeps the value, so none can be given")
	case len(args) == 2:
		value = args[1]
	case !f.ignoreValue:
		var err error
		if value, err = readValue(stdin); err != nil {
			return clientv3.Op{}, badArguments("put needs a value, as argument or on standard input: %w", err)
		}
	}
	lease, err := parseLeaseID(f.lease)
	if err != nil {
		return clientv3.Op{}, err
	}
	opts := []clientv3.OpOption{clientv3.WithLease(lease)}
	if f.prevKV {
		opts = append(opts, clientv3.WithPrevKV())
	}
	if f.ignoreValue {
		opts = append(opts, clientv3.WithIgnoreValue())
	}
	if f.ignoreLease {
		opts = append(opts, clientv3.WithIgnoreLease())
	}
	return clientv3.OpPut(args[0], value, opts...), nil
}

func readValue(stdin io.Reader) (string, error) {
	if stdin == nil {
		return "", errors.New("there is none")
	}
	value, err := io.ReadAll(stdin)
	if err == nil && len(value) == 0 {
		err = errors.New("it is empty") // for an empty value the argument "" leaves no doubt
	}
	return string(value), err
}

func newPutCommand(s *session) *cobra.Command {
	var f putFlags
	cmd := &cobra.Command{
		Use:   "put <key> [value]",
		Short: "Set a key to a value",
		Long: `Set a key to a value. Without a value argument the value is what standard input holds.

A key or value that begins with '-' comes after '--', or it would be read as a flag.`,
		Example: `  coordctl put greeting hello
  coordctl put certificate <server.pem
  coordctl put offset -- -5
  coordctl put --lease 694d7c1cbd2c8a0a /services/web/1 10.0.0.7:8080`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, putResult{})
			if err != nil {
				return err
			}
			op, err := f.op(args, cmd.InOrStdin())
			if err != nil {
				return err
			}
			resp, err := s.do(cmd, op)
			if err != nil {
				return err
			}
			return p.print(putResult{(*pb.PutResponse)(resp.Put())})
		},
	}
	f.bind(cmd.Flags())
	return cmd
}

type putResult struct{ *pb.PutResponse }

func (r putResult) simple(t *text) {
	t.line("OK")
	if kv := r.GetPrevKv(); kv != nil {
		t.pair(kv)
	}
}

func (r putResult) fields(t *text) {
	t.header(r.GetHeader())
	if kv := r.GetPrevKv(); kv != nil {
		t.keyValue("Prev", kv)
	}
}

func (r putResult) value(bool) any { return r.PutResponse }

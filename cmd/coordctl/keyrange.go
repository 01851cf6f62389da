package main

import (
	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// keyRange is what the arguments and flags of get, del and watch say about the keys they are for: one key, the keys
// from a key up to but without a second one, those with a prefix, or all from a key on.
type keyRange struct {
	prefix  bool
	fromKey bool
}

func (r *keyRange) bindPrefix(fs *pflag.FlagSet) {
	fs.BoolVar(&r.prefix, "prefix", false, "all keys that begin with the given one; with an empty key, every key")
}

func (r *keyRange) bindFromKey(fs *pflag.FlagSet) {
	fs.BoolVar(&r.fromKey, "from-key", false, "all keys from the given one on, in byte order")
}

// parse returns the first key and the option for the range, if any.
func (r *keyRange) parse(command string, args []string) (key string, opts []clientv3.OpOption, err error) {
	switch {
	case len(args) == 0 || len(args) > 2:
		return "", nil, badArguments("%s needs a key and, for a range, the key to end before; it has %d arguments", command, len(args))
	case r.prefix && r.fromKey:
		return "", nil, badArguments("%s: --prefix and --from-key exclude each other", command)
	case len(args) == 2 && r.prefix:
		return "", nil, badArguments("%s: --prefix takes one key, without a range end", command)
	case len(args) == 2 && r.fromKey:
		return "", nil, badArguments("%s: --from-key takes one key, without a range end", command)
	case len(args) == 2:
		opts = append(opts, clientv3.WithRange(args[1]))
	case r.prefix:
		opts = append(opts, clientv3.WithPrefix())
	case r.fromKey:
		opts = append(opts, clientv3.WithFromKey())
	}
	return args[0], opts, nil
}

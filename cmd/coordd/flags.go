package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/coordd/coordd/coordd"
	"github.com/spf13/pflag"
)

// bindFlags binds etcd's flags to cfg, whose values are their defaults.
func bindFlags(f *pflag.FlagSet, cfg *coordd.Config) {
	f.SortFlags = false
	f.StringVar(&cfg.Name, "name", cfg.Name, "this member's name, as in --initial-cluster")
	f.StringVar(&cfg.DataDir, "data-dir", "", "directory of the data (default \"<name>.coordd\")")
	f.StringVar(&cfg.WALDir, "wal-dir", "", "directory of the write-ahead log, where it shall not be in --data-dir")
	f.Var((*urls)(&cfg.ListenClientURLs), "listen-client-urls", "addresses to serve clients on")
	f.Var((*urls)(&cfg.AdvertiseClientURLs), "advertise-client-urls", "addresses at which clients reach this member")
	f.Var((*urls)(&cfg.ListenPeerURLs), "listen-peer-urls", "addresses to serve other members on")
	f.Var((*urls)(&cfg.InitialAdvertisePeerURLs), "initial-advertise-peer-urls", "addresses at which other members reach this one")
	f.StringVar(&cfg.InitialCluster, "initial-cluster", "", "all members of a new cluster, as name=url,name=url (default this member alone)")
	f.StringVar(&cfg.InitialClusterToken, "initial-cluster-token", cfg.InitialClusterToken, "keeps clusters with equal addresses apart")
	f.Var((*clusterState)(nil), "initial-cluster-state", "\"new\"; a member that has data goes on with its cluster whatever stands here")
	f.Var((*milliseconds)(&cfg.HeartbeatInterval), "heartbeat-interval", "time between a leader's heartbeats, in milliseconds")
	f.Var((*milliseconds)(&cfg.ElectionTimeout), "election-timeout", "time without a leader after which members elect one, in milliseconds")
	f.Uint64Var(&cfg.SnapshotCatchupEntries, "snapshot-catchup-entries", cfg.SnapshotCatchupEntries, "log entries kept for members that lag; further behind, they get a snapshot")
	f.IntVar(&cfg.MaxTxnOps, "max-txn-ops", cfg.MaxTxnOps, "operations in one branch of a transaction")
	f.IntVar(&cfg.MaxRequestBytes, "max-request-bytes", cfg.MaxRequestBytes, "size of one request")
	f.Uint32Var(&cfg.MaxConcurrentStreams, "max-concurrent-streams", cfg.MaxConcurrentStreams, "streams of one client connection")
	f.DurationVar(&cfg.WatchProgressNotifyInterval, "watch-progress-notify-interval", cfg.WatchProgressNotifyInterval, "time between progress notices of an idle watch")
}

// logFlags say what is logged and how.
type logFlags struct{ level, format string }

func (l *logFlags) bind(f *pflag.FlagSet) {
	f.StringVar(&l.level, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&l.format, "log-format", "json", "json or text (etcd's word console is taken for text)")
}

func (l *logFlags) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: give debug, info, warn or error", l.level)
	}
	options := &slog.HandlerOptions{Level: level}
	switch l.format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	case "text", "console":
		return slog.New(slog.NewTextHandler(w, options)), nil
	default:
		return nil, fmt.Errorf("--log-format %q: give json or text", l.format)
	}
}

// urls is a flag of comma-separated URLs; giving it again replaces them.
type urls []string

func (u *urls) String() string { return strings.Join(*u, ",") }
func (u *urls) Type() string   { return "urls" }
func (u *urls) Set(s string) error {
	*u = nil
	for one := range strings.SplitSeq(s, ",") {
		*u = append(*u, strings.TrimSpace(one))
	}
	return nil
}

// milliseconds is a duration given as etcd's flags do: a bare number.
type milliseconds time.Duration

func (m *milliseconds) String() string { return fmt.Sprint(time.Duration(*m).Milliseconds()) }
func (m *milliseconds) Type() string   { return "ms" }
func (m *milliseconds) Set(s string) error {
	d, err := time.ParseDuration(s + "ms")
	if err != nil {
		return fmt.Errorf("%q is not a number of milliseconds", s)
	}
	*m = milliseconds(d)
	return nil
}

// clusterState accepts the one way in which a member starts here.
type clusterState struct{}

func (*clusterState) String() string { return "new" }
func (*clusterState) Type() string   { return "state" }
func (*clusterState) Set(s string) error {
	if s != "new" {
		return fmt.Errorf("%q is not served: members are those of --initial-cluster, from the beginning; write new", s)
	}
	return nil
}

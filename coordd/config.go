package coordd

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/coordd/coordd/coordd/datadir"
)

// ErrConfig says that a setting cannot be used; its text says which and what
// to write instead.
var ErrConfig = errors.New("coordd: invalid setting")

// Config is what one member is started with. The names are etcd's.
type Config struct {
	Name    string // this member, as in InitialCluster
	DataDir string // empty: Name with ".coordd" behind it
	WALDir  string // empty: within DataDir

	ListenClientURLs         []string
	ListenClientHTTPURLs     []string // for HTTP; ListenClientURLs are for gRPC alone then. Empty: both are on those
	AdvertiseClientURLs      []string
	ListenPeerURLs           []string
	InitialAdvertisePeerURLs []string
	InitialCluster           string // name=url,name=url,…; empty: this member alone
	InitialClusterToken      string
	InitialClusterState      string // "new", or "existing" to join the cluster of InitialCluster
	ForceNewCluster          bool   // go on alone with the data there are
	StrictReconfigCheck      bool   // refuse changes of membership that would lose the quorum
	MaxLearners              int    // at least 1

	ClientTLS              TLS // of client connections
	PeerTLS                TLS // between members
	TLSMinVersion          string
	TLSMaxVersion          string   // empty: the highest there is
	CipherSuites           []string // empty: Go's choice
	SelfSignedCertValidity uint     // years, of certificates that the member makes itself

	AuthToken    string        // "simple", or "jwt,pub-key=…,priv-key=…,sign-method=…,ttl=…"
	AuthTokenTTL time.Duration // of simple tokens, since their last use
	BcryptCost   int

	HeartbeatInterval      time.Duration // at least 10 ms
	ElectionTimeout        time.Duration // at least 5 heartbeats, at most 50 s
	SnapshotCatchupEntries uint64        // log entries kept for followers that lag
	PreVote                bool

	QuotaBackendBytes       int64         // 0: 2 GiB; below 0: none
	AutoCompactionMode      string        // "periodic" or "revision"
	AutoCompactionRetention string        // a duration or hours, or revisions; "0": no auto-compaction
	CompactionBatchLimit    int           // records that one step of a compaction removes at most
	CorruptCheckTime        time.Duration // between comparisons of the members' stores; 0: none
	CompactHashCheckTime    time.Duration // between comparisons of hashes taken at compactions; 0: none

	MaxTxnOps                   int           // operations in one branch of a transaction; at least 1
	MaxRequestBytes             int           // encoded size of one request; 1 KiB to 64 MiB
	MaxConcurrentStreams        uint32        // of one connection
	WatchProgressNotifyInterval time.Duration // at least 100 ms

	GRPCKeepAliveMinTime  time.Duration // between a client's pings, at least
	GRPCKeepAliveInterval time.Duration // between the server's pings of an idle connection; 0: none
	GRPCKeepAliveTimeout  time.Duration // until an unanswered ping ends the connection

	ListenMetricsURLs           []string
	CORS                        []string // origins of web pages that may call; "*": all
	HostWhitelist               []string // names of this member in requests without TLS; "*": any
	Metrics                     string   // "basic", or "extensive" with histograms of every call
	EnablePprof                 bool
	WarningUnaryRequestDuration time.Duration // slower requests are logged

	FleetLock FleetLock // reboot slots for Zincati and its like

	Sockets []Socket // opened for the member already; those of the listen URLs that are not among them are opened
}

// TLS is how one kind of connection is secured. The zero value is not at all.
type TLS struct {
	CertFile, KeyFile             string
	ClientCertFile, ClientKeyFile string // what the member shows when it calls; empty: CertFile and KeyFile
	TrustedCAFile                 string
	CRLFile                       string
	ClientCertAuth                bool
	AllowedCN, AllowedHostname    []string
	SkipClientSANVerify           bool // do not compare a calling member's address with its certificate
	Auto                          bool // with a certificate that the member makes itself
}

// String says shortly what is shown and asked for, for the log.
func (t *TLS) String() string {
	switch {
	case t.CertFile == "" && t.Auto:
		return "self-made certificate"
	case t.CertFile == "":
		return "off"
	}
	s := "certificate " + t.CertFile
	if t.ClientCertAuth || t.TrustedCAFile != "" {
		s += ", the other side's is needed, of " + cmp.Or(t.TrustedCAFile, "the system's authorities")
	}
	if t.CRLFile != "" {
		s += ", revoked " + t.CRLFile
	}
	if names := slices.Concat(t.AllowedCN, t.AllowedHostname); len(names) > 0 {
		s += ", allowed " + strings.Join(names, " ")
	}
	return s
}

// Enabled says whether there is a certificate to serve with.
func (t *TLS) Enabled() bool { return t.CertFile != "" || t.Auto }

// Defaults are the settings of a cluster of one member on loopback.
func Defaults() Config {
	return Config{
		Name:                        "default",
		ListenClientURLs:            []string{"http://127.0.0.1:2379"},
		AdvertiseClientURLs:         []string{"http://127.0.0.1:2379"},
		ListenPeerURLs:              []string{"http://127.0.0.1:2380"},
		InitialAdvertisePeerURLs:    []string{"http://127.0.0.1:2380"},
		InitialClusterToken:         "etcd-cluster",
		InitialClusterState:         "new",
		StrictReconfigCheck:         true,
		MaxLearners:                 1,
		TLSMinVersion:               "TLS1.2",
		SelfSignedCertValidity:      1,
		AuthToken:                   "simple",
		AuthTokenTTL:                300 * time.Second,
		BcryptCost:                  10,
		HeartbeatInterval:           100 * time.Millisecond,
		ElectionTimeout:             time.Second,
		SnapshotCatchupEntries:      5000,
		PreVote:                     true,
		AutoCompactionMode:          "periodic",
		AutoCompactionRetention:     "0",
		CompactionBatchLimit:        1000,
		CompactHashCheckTime:        time.Minute,
		MaxTxnOps:                   128,
		MaxRequestBytes:             1536 << 10,
		MaxConcurrentStreams:        math.MaxUint32,
		WatchProgressNotifyInterval: 10 * time.Minute,
		GRPCKeepAliveMinTime:        5 * time.Second,
		GRPCKeepAliveInterval:       2 * time.Hour,
		GRPCKeepAliveTimeout:        20 * time.Second,
		Metrics:                     "basic",
		CORS:                        []string{"*"},
		HostWhitelist:               []string{"*"},
		WarningUnaryRequestDuration: 300 * time.Millisecond,
	}
}

// dataDir is DataDir or what stands for it.
func (c *Config) dataDir() string {
	if c.DataDir == "" {
		return c.Name + ".coordd"
	}
	return c.DataDir
}

func (c *Config) layout() datadir.Layout { return datadir.Layout{Data: c.dataDir(), WAL: c.WALDir} }

func (c *Config) walDir() string { return c.layout().Log() }

func (c *Config) snapDir() string { return c.layout().Snap() }

// initialCluster is InitialCluster or what stands for it.
func (c *Config) initialCluster() string {
	if c.InitialCluster != "" {
		return c.InitialCluster
	}
	pairs := make([]string, len(c.InitialAdvertisePeerURLs))
	for i, u := range c.InitialAdvertisePeerURLs {
		pairs[i] = c.Name + "=" + u
	}
	return strings.Join(pairs, ",")
}

// Validate returns the first setting that cannot be used, as ErrConfig.
func (c *Config) Validate() error {
	for _, validate := range []func() error{
		c.validateWords, c.validateURLs, c.validateTLS, c.validateUsers, c.validateNumbers, c.validateKeepAlive, c.validateUpkeep, c.validateFleetLock,
	} {
		if err := validate(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) validateWords() error {
	switch {
	case c.Name == "" || strings.ContainsAny(c.Name, "=,\n"):
		return fmt.Errorf("%w: --name %q: give a name without '=', ',' or line breaks", ErrConfig, c.Name)
	case c.InitialClusterState != "new" && c.InitialClusterState != "existing":
		return fmt.Errorf("%w: --initial-cluster-state %q: give new, or existing to join the cluster of --initial-cluster", ErrConfig, c.InitialClusterState)
	case c.Metrics != "basic" && c.Metrics != "extensive":
		return fmt.Errorf("%w: --metrics %q: give basic or extensive", ErrConfig, c.Metrics)
	}
	return nil
}

func (c *Config) validateNumbers() error {
	for _, r := range []struct {
		flag            string
		value, min, max int64
		unit            string
	}{
		{"heartbeat-interval", c.HeartbeatInterval.Milliseconds(), 10, 10_000, "milliseconds"},
		{"election-timeout", c.ElectionTimeout.Milliseconds(), 5 * c.HeartbeatInterval.Milliseconds(), 50_000, "milliseconds, at least five heartbeats"},
		{"snapshot-catchup-entries", int64(min(c.SnapshotCatchupEntries, math.MaxInt64)), 1, 1_000_000, "entries"},
		{"max-learners", int64(c.MaxLearners), 1, math.MaxInt32, "members"},
		{"max-txn-ops", int64(c.MaxTxnOps), 1, 1 << 20, "operations"},
		{"max-request-bytes", int64(c.MaxRequestBytes), 1 << 10, 64 << 20, "bytes"},
		{"max-concurrent-streams", int64(c.MaxConcurrentStreams), 1, math.MaxUint32, "streams"},
		{"watch-progress-notify-interval", c.WatchProgressNotifyInterval.Milliseconds(), 100, math.MaxInt64, "milliseconds"},
	} {
		if r.value < r.min || r.value > r.max {
			return fmt.Errorf("%w: --%s is %d: give %d to %d %s", ErrConfig, r.flag, r.value, r.min, r.max, r.unit)
		}
	}
	return nil
}

package main

import (
	"github.com/coordd/coordd/coordd"
	"github.com/spf13/pflag"
)

// section is a group of flags, as --help shows them.
type section struct {
	title string
	flags *pflag.FlagSet
}

// bindFlags binds etcd's flags to cfg, whose values are their defaults, and
// returns them by section.
func bindFlags(f *pflag.FlagSet, cfg *coordd.Config) []section {
	var sections []section
	for _, s := range []struct {
		title string
		bind  func(*pflag.FlagSet, *coordd.Config)
	}{
		{"Member", bindMember},
		{"Cluster", bindCluster},
		{"Security", bindSecurity},
		{"Users", bindUsers},
		{"Limits", bindLimits},
		{"Store", bindStore},
		{"Replication", bindReplication},
		{"Monitoring", bindMonitoring},
		{"Reboots", bindReboots},
		{"Danger", bindDanger},
	} {
		flags := newFlagSet()
		s.bind(flags, cfg)
		f.AddFlagSet(flags)
		sections = append(sections, section{s.title, flags})
	}
	return sections
}

func newFlagSet() *pflag.FlagSet {
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.SortFlags = false
	return f
}

func bindMember(f *pflag.FlagSet, cfg *coordd.Config) {
	f.StringVar(&cfg.Name, "name", cfg.Name, "this member's name, as in --initial-cluster")
	f.StringVar(&cfg.DataDir, "data-dir", "", "directory of the data (default \"<name>.coordd\")")
	f.StringVar(&cfg.WALDir, "wal-dir", "", "directory of the write-ahead log, where it shall not be in --data-dir")
	f.Var((*list)(&cfg.ListenClientURLs), "listen-client-urls", "addresses to serve clients on: http, https, unix or unixs")
	f.Var((*list)(&cfg.ListenClientHTTPURLs), "listen-client-http-urls", "addresses to serve HTTP on; --listen-client-urls then serve gRPC alone")
	f.Var((*list)(&cfg.AdvertiseClientURLs), "advertise-client-urls", "addresses at which clients reach this member; needed with --listen-client-urls")
	f.Var((*list)(&cfg.ListenPeerURLs), "listen-peer-urls", "addresses to serve other members on")
}

func bindCluster(f *pflag.FlagSet, cfg *coordd.Config) {
	f.Var((*list)(&cfg.InitialAdvertisePeerURLs), "initial-advertise-peer-urls", "addresses at which other members reach this one")
	f.StringVar(&cfg.InitialCluster, "initial-cluster", "", "all members of the cluster, as name=url,name=url (default this member alone)")
	f.StringVar(&cfg.InitialClusterState, "initial-cluster-state", cfg.InitialClusterState, "new, or existing to join a cluster that has this member added; without effect once there are data")
	f.StringVar(&cfg.InitialClusterToken, "initial-cluster-token", cfg.InitialClusterToken, "keeps clusters with equal addresses apart")
	f.BoolVar(&cfg.StrictReconfigCheck, "strict-reconfig-check", cfg.StrictReconfigCheck, "refuse changes of membership that would lose the quorum")
	f.IntVar(&cfg.MaxLearners, "max-learners", cfg.MaxLearners, "learners in the cluster at a time")
}

func bindSecurity(f *pflag.FlagSet, cfg *coordd.Config) {
	bindTLS(f, &cfg.ClientTLS, "", "clients")
	f.Var((*list)(&cfg.ClientTLS.AllowedHostname), "client-cert-allowed-hostname", "host names of which a client's certificate must name one")
	f.StringVar(&cfg.ClientTLS.CRLFile, "client-crl-file", "", "file of revoked client certificates")
	bindTLS(f, &cfg.PeerTLS, "peer-", "members")
	f.StringVar(&cfg.PeerTLS.ClientCertFile, "peer-client-cert-file", "", "certificate to show when calling members (default --peer-cert-file)")
	f.StringVar(&cfg.PeerTLS.ClientKeyFile, "peer-client-key-file", "", "its key")
	f.Var((*list)(&cfg.PeerTLS.AllowedCN), "peer-cert-allowed-cn", "common names of which a member's certificate must have one")
	f.Var((*list)(&cfg.PeerTLS.AllowedHostname), "peer-cert-allowed-hostname", "host names of which a member's certificate must name one")
	f.StringVar(&cfg.PeerTLS.CRLFile, "peer-crl-file", "", "file of revoked members' certificates")
	f.BoolVar(&cfg.PeerTLS.SkipClientSANVerify, "peer-skip-client-san-verification", false, "do not compare a calling member's address with its certificate")
	f.UintVar(&cfg.SelfSignedCertValidity, "self-signed-cert-validity", cfg.SelfSignedCertValidity, "years that certificates of --auto-tls and --peer-auto-tls hold")
	f.StringVar(&cfg.TLSMinVersion, "tls-min-version", cfg.TLSMinVersion, "TLS1.2 or TLS1.3")
	f.StringVar(&cfg.TLSMaxVersion, "tls-max-version", cfg.TLSMaxVersion, "TLS1.2 or TLS1.3 (default the highest there is)")
	f.Var((*list)(&cfg.CipherSuites), "cipher-suites", "cipher suites of TLS1.2 (default Go's choice)")
	f.Var((*list)(&cfg.CORS), "cors", "origins of web pages that may call, * for all")
	f.Var((*list)(&cfg.HostWhitelist), "host-whitelist", "names of this member in HTTP requests without TLS, * for any")
}

// bindTLS binds what is the same for clients and members.
func bindTLS(f *pflag.FlagSet, t *coordd.TLS, prefix, who string) {
	f.StringVar(&t.CertFile, prefix+"cert-file", "", "certificate to show to "+who)
	f.StringVar(&t.KeyFile, prefix+"key-file", "", "its key")
	f.StringVar(&t.TrustedCAFile, prefix+"trusted-ca-file", "", "authorities that must have signed the certificates of "+who)
	f.BoolVar(&t.ClientCertAuth, prefix+"client-cert-auth", false, who+" must show a certificate")
	f.BoolVar(&t.Auto, prefix+"auto-tls", false, "make a certificate; it hides what is said but proves nothing")
}

func bindUsers(f *pflag.FlagSet, cfg *coordd.Config) {
	f.StringVar(&cfg.AuthToken, "auth-token", cfg.AuthToken, "simple, or jwt with its options, as jwt,pub-key=…,priv-key=…,sign-method=RS256,ttl=10m")
	f.Var((*seconds)(&cfg.AuthTokenTTL), "auth-token-ttl", "how long an unused simple token holds, in seconds")
	f.IntVar(&cfg.BcryptCost, "bcrypt-cost", cfg.BcryptCost, "cost of hashing a password, 4 to 31")
}

func bindLimits(f *pflag.FlagSet, cfg *coordd.Config) {
	f.IntVar(&cfg.MaxTxnOps, "max-txn-ops", cfg.MaxTxnOps, "operations in one branch of a transaction")
	f.IntVar(&cfg.MaxRequestBytes, "max-request-bytes", cfg.MaxRequestBytes, "size of one request")
	f.Uint32Var(&cfg.MaxConcurrentStreams, "max-concurrent-streams", cfg.MaxConcurrentStreams, "streams of one client connection")
	f.DurationVar(&cfg.GRPCKeepAliveMinTime, "grpc-keepalive-min-time", cfg.GRPCKeepAliveMinTime, "a client that pings more often is cut off")
	f.DurationVar(&cfg.GRPCKeepAliveInterval, "grpc-keepalive-interval", cfg.GRPCKeepAliveInterval, "time between pings of a silent connection, 0 for none")
	f.DurationVar(&cfg.GRPCKeepAliveTimeout, "grpc-keepalive-timeout", cfg.GRPCKeepAliveTimeout, "time for the answer, 0 for no pings")
	f.DurationVar(&cfg.WatchProgressNotifyInterval, "watch-progress-notify-interval", cfg.WatchProgressNotifyInterval, "time between progress notices of an idle watch")
}

func bindStore(f *pflag.FlagSet, cfg *coordd.Config) {
	f.Int64Var(&cfg.QuotaBackendBytes, "quota-backend-bytes", cfg.QuotaBackendBytes, "size of the store beyond which writes are refused; 0 for 2 GiB, below 0 for no limit")
	f.StringVar(&cfg.AutoCompactionMode, "auto-compaction-mode", cfg.AutoCompactionMode, "periodic or revision")
	f.StringVar(&cfg.AutoCompactionRetention, "auto-compaction-retention", cfg.AutoCompactionRetention, "history to keep: hours or a duration, or revisions; 0 for all")
	f.IntVar(&cfg.CompactionBatchLimit, "compaction-batch-limit", cfg.CompactionBatchLimit, "revisions that one step of a compaction removes")
	f.DurationVar(&cfg.CorruptCheckTime, "corrupt-check-time", cfg.CorruptCheckTime, "time between comparisons of the members' stores, 0 for none")
	f.DurationVar(&cfg.CompactHashCheckTime, "compact-hash-check-time", cfg.CompactHashCheckTime, "time between comparisons of hashes taken at compactions")
}

func bindReplication(f *pflag.FlagSet, cfg *coordd.Config) {
	f.Var((*milliseconds)(&cfg.HeartbeatInterval), "heartbeat-interval", "time between a leader's heartbeats, in milliseconds")
	f.Var((*milliseconds)(&cfg.ElectionTimeout), "election-timeout", "time without a leader after which members elect one, in milliseconds")
	f.BoolVar(&cfg.PreVote, "pre-vote", cfg.PreVote, "ask before an election whether it could be won, so that a member that was cut off does not disturb")
	f.Uint64Var(&cfg.SnapshotCatchupEntries, "snapshot-catchup-entries", cfg.SnapshotCatchupEntries, "log entries kept for members that lag; further behind, they get a snapshot")
}

func bindMonitoring(f *pflag.FlagSet, cfg *coordd.Config) {
	f.Var((*list)(&cfg.ListenMetricsURLs), "listen-metrics-urls", "further addresses for /metrics and health; https with the clients' certificates")
	f.StringVar(&cfg.Metrics, "metrics", cfg.Metrics, "basic, or extensive with histograms of every call")
	f.BoolVar(&cfg.EnablePprof, "enable-pprof", false, "serve Go's profiles under /debug/pprof/")
	f.DurationVar(&cfg.WarningUnaryRequestDuration, "warning-unary-request-duration", cfg.WarningUnaryRequestDuration, "slower requests are logged")
}

func bindReboots(f *pflag.FlagSet, cfg *coordd.Config) {
	f.BoolVar(&cfg.FleetLock.Enabled, "fleet-lock", false, "serve FleetLock v1, of Zincati, under /fleetlock/ at the clients' addresses")
	f.Var((*list)(&cfg.FleetLock.Groups), "fleet-lock-groups", "groups of machines that may take slots, * for any (default default)")
	f.StringVar(&cfg.FleetLock.TokenFile, "fleet-lock-token-file", "", "tokens, one a line, of which a machine must show one")
	f.StringVar(&cfg.FleetLock.User, "fleet-lock-user", "", "user whose permissions hold for machines where users are on (default that of the machine's certificate)")
}

func bindDanger(f *pflag.FlagSet, cfg *coordd.Config) {
	f.BoolVar(&cfg.ForceNewCluster, "force-new-cluster", false, "go on alone with the data there are: the other members are lost for good")
}

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// unserved is a flag of etcd's that sets nothing here. It stands on the command
// lines of people who come from etcd, so it is accepted; but where it asks for
// something that would be missed, with a value other than the harmless ones, it
// is refused.
type unserved struct {
	name     string
	why      string
	isBool   bool
	harmless []string // empty: every value
}

const (
	storeOwn    = "the store is written in the background, beside the log"
	logOwn      = "old files are removed as soon as nobody needs them"
	noDiscovery = "name the members with --initial-cluster"
	noTracing   = "slow requests are logged with where their time went"
	logRotation = "let logrotate copy and truncate the file, or log to stderr and the journal"
	oldFlag     = "etcd ignores it too"
)

var off = []string{"false"}

// unservedFlags are all of them.
func unservedFlags() []unserved {
	accepted := []unserved{
		{name: "snapshot-count", why: "there are no snapshots beside the store; --snapshot-catchup-entries says how much log is kept"},
		{name: "max-snapshots", why: logOwn},
		{name: "max-wals", why: logOwn},
		{name: "initial-election-tick-advance", why: "a single member elects itself at once", isBool: true},
		{name: "backend-bbolt-freelist-type", why: storeOwn},
		{name: "backend-batch-interval", why: storeOwn},
		{name: "backend-batch-limit", why: storeOwn},
		{name: "bootstrap-defrag-threshold-megabytes", why: "free space is given back while the member serves"},
		{name: "compaction-sleep-interval", why: "compactions give way to writes by themselves"},
		{name: "downgrade-check-time", why: "a downgrade is watched without a timer"},
		{name: "raft-read-timeout", why: "a silent connection between members ends after three seconds"},
		{name: "raft-write-timeout", why: "a silent connection between members ends after three seconds"},
		{name: "socket-reuse-address", why: "it is always so", isBool: true},
		{name: "warning-apply-duration", why: "--warning-unary-request-duration covers it"},
		{name: "v2-deprecation", why: "there is no v2 store"},
		{name: "logger", why: "there is one"},
		{name: "log-rotation-config-json", why: logRotation},
		{name: "client-cert-file", why: "the gateway reaches gRPC without a connection"},
		{name: "client-key-file", why: "the gateway reaches gRPC without a connection"},
		{name: "feature-gates", why: "what they switch is on where it is served"},
		{name: "discovery-dial-timeout", why: noDiscovery},
		{name: "discovery-request-timeout", why: noDiscovery},
		{name: "discovery-keepalive-time", why: noDiscovery},
		{name: "discovery-keepalive-timeout", why: noDiscovery},
		{name: "discovery-insecure-transport", why: noDiscovery, isBool: true},
		{name: "discovery-insecure-skip-tls-verify", why: noDiscovery, isBool: true},
		{name: "distributed-tracing-address", why: noTracing},
		{name: "distributed-tracing-service-name", why: noTracing},
		{name: "distributed-tracing-instance-id", why: noTracing},
		{name: "distributed-tracing-sampling-rate", why: noTracing},
	}
	for _, name := range []string{
		"cluster-active-size", "cluster-remove-delay", "cluster-sync-interval", "config", "force", "max-result-buffer",
		"max-retry-attempts", "peer-heartbeat-interval", "peer-election-timeout", "retry-interval", "snapshot", "v", "vv",
	} {
		accepted = append(accepted, unserved{name: name, why: oldFlag, isBool: true})
	}
	refused := []unserved{
		{name: "unsafe-no-fsync", why: "every acknowledged write is on disk", isBool: true, harmless: off},
		{name: "memory-mlock", why: "the store maps more addresses than there is memory; switch swap off, or set MemorySwapMax=0 for the unit", isBool: true, harmless: off},
		{name: "socket-reuse-port", why: "two members on one port would take each other's clients", isBool: true, harmless: off},
		{name: "enable-grpc-gateway", why: "the gateway is part of the API and checks what gRPC checks", isBool: true, harmless: []string{"true"}},
		{name: "enable-log-rotation", why: logRotation, isBool: true, harmless: off},
		{name: "enable-distributed-tracing", why: noTracing, isBool: true, harmless: off},
		{name: "discovery-fallback", why: noDiscovery, harmless: []string{"exit"}},
	}
	for _, name := range []string{
		"discovery", "discovery-token", "discovery-endpoints", "discovery-proxy", "discovery-srv", "discovery-srv-name",
		"discovery-cert", "discovery-key", "discovery-cacert", "discovery-user", "discovery-password",
	} {
		refused = append(refused, unserved{name: name, why: noDiscovery, harmless: []string{""}})
	}
	return append(accepted, refused...)
}

// bindUnserved adds the flags that set nothing; --help names them at its end.
func bindUnserved(f *pflag.FlagSet) {
	for _, u := range unservedFlags() {
		flag := f.VarPF(&unservedValue{u}, u.name, "", "")
		flag.Hidden = true
		if u.isBool {
			flag.NoOptDefVal = "true"
		}
	}
}

type unservedValue struct{ unserved }

func (*unservedValue) String() string { return "" }
func (*unservedValue) Type() string   { return "etcd" }
func (v *unservedValue) Set(s string) error {
	if len(v.harmless) == 0 || slices.Contains(v.harmless, s) {
		return nil
	}
	return fmt.Errorf("it is not served: %s", v.why)
}

// unservedHelp lists the flags that set nothing, shortly.
func unservedHelp() string {
	var accepted, refused []string
	for _, u := range unservedFlags() {
		switch {
		case u.why == oldFlag:
		case len(u.harmless) == 0:
			accepted = append(accepted, "--"+u.name)
		default:
			refused = append(refused, "--"+u.name)
		}
	}
	return "Accepted for etcd's sake, and without effect:\n" + columns(accepted) +
		"\nRefused, with the reason, where they ask for something:\n" + columns(refused)
}

// columns fills lines with words.
func columns(words []string) string {
	const width = 100
	var b strings.Builder
	line := "  "
	for _, w := range words {
		if len(line)+len(w) > width {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = "  "
		}
		line += w + " "
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
	return b.String()
}

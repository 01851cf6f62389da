package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// session holds the global flags and makes clients and printers from them.
type session struct {
	endpoints      []string
	commandTimeout time.Duration
	spec           clientv3.ConfigSpec
	secure         clientv3.SecureConfig
	user           string
	password       string
	token          string
	discovery      discovery
	format         string
	hex            bool
	debug          bool

	// auth is what the user is logged in with, asked for once.
	auth func() (*clientv3.AuthConfig, error)
}

func (s *session) bind(fs *pflag.FlagSet) {
	fs.StringSliceVar(&s.endpoints, "endpoints", []string{"127.0.0.1:2379"}, "comma-separated addresses of the cluster's members")
	fs.DurationVar(&s.spec.DialTimeout, "dial-timeout", 2*time.Second, "longest time to log in when --user is set")
	fs.DurationVar(&s.commandTimeout, "command-timeout", 5*time.Second, "longest time a command waits for its answer; watch and lease keep-alive have no limit")
	fs.DurationVar(&s.spec.KeepAliveTime, "keepalive-time", 2*time.Second, "time between pings on an idle connection")
	fs.DurationVar(&s.spec.KeepAliveTimeout, "keepalive-timeout", 6*time.Second, "time to wait for a ping's answer before the connection is given up")
	fs.IntVar(&s.spec.MaxCallSendMsgSize, "max-request-bytes", 0, "largest request to send, in bytes; 0 means 2 MiB")
	fs.IntVar(&s.spec.MaxCallRecvMsgSize, "max-recv-bytes", 0, "largest response to accept, in bytes; 0 means no limit")

	fs.BoolVar(&s.secure.InsecureTransport, "insecure-transport", true, "allow connections without TLS; false uses TLS with the system's authorities even without --cacert")
	fs.BoolVar(&s.secure.InsecureSkipVerify, "insecure-skip-tls-verify", false, "do not check the server's certificate: anyone can pose as the server, for trials only")
	fs.StringVar(&s.secure.Cert, "cert", "", "file with the client's TLS certificate")
	fs.StringVar(&s.secure.Key, "key", "", "file with the key of the client's TLS certificate")
	fs.StringVar(&s.secure.Cacert, "cacert", "", "file with the authorities that sign the servers' certificates")
	fs.StringVar(&s.user, "user", "", "user to log in as, NAME:PASSWORD, or NAME with --password; asks for a password that is not given")
	fs.StringVar(&s.password, "password", "", "password of --user")
	fs.StringVar(&s.token, "auth-jwt-token", "", "token to present instead of a user and password")

	fs.StringVarP(&s.discovery.domain, "discovery-srv", "d", "", "domain whose DNS SRV records name the cluster's members, instead of --endpoints")
	fs.StringVar(&s.discovery.serviceName, "discovery-srv-name", "", "suffix of the service in the SRV records: NAME for _etcd-client-NAME._tcp")
	fs.BoolVar(&s.discovery.insecure, "insecure-discovery", true, "accept SRV records of members without TLS; false also checks that certificates are for the domain")

	fs.StringVarP(&s.format, "write-out", "w", "simple", "output format: fields, json, protobuf, simple or table")
	fs.BoolVar(&s.hex, "hex", false, "print keys and values (simple, table) and IDs (fields, json member list) in hexadecimal")
	fs.BoolVar(&s.debug, "debug", false, "tell on standard error which flags are in force and what the connections do")
}

// prepare completes the session from the environment before a command runs.
func (s *session) prepare(cmd *cobra.Command, environ []string) error {
	if err := s.readEnvironment(cmd, environ); err != nil {
		return err
	}
	if s.debug {
		showDebug(cmd.ErrOrStderr(), cmd.Root().PersistentFlags())
	}
	s.auth = sync.OnceValues(func() (*clientv3.AuthConfig, error) { return s.credentials(cmd, "Password: ") })
	if s.discovery.domain == "" || cmd.Annotations[offline] != "" {
		return nil
	}
	endpoints, err := s.discovery.endpoints(cmd.ErrOrStderr())
	s.endpoints, s.secure.ServerName = endpoints, s.discovery.serverName()
	return err
}

// offline is the annotation of commands that talk to no server.
const offline = "offline"

// readEnvironment sets the global flags that the command line left alone from environ, a list of NAME=value. A
// variable that names no flag is worth a warning: whoever set it expects it to do something.
func (s *session) readEnvironment(cmd *cobra.Command, environ []string) error {
	flags := cmd.Root().PersistentFlags()
	onCommandLine := make(map[string]bool)
	flags.VisitAll(func(f *pflag.Flag) { onCommandLine[f.Name] = f.Changed })
	for _, prefix := range []string{"ETCDCTL_", "COORDCTL_"} { // the later overrides the earlier
		for _, variable := range slices.Sorted(slices.Values(environ)) {
			name, value, _ := strings.Cut(variable, "=")
			suffix, ok := strings.CutPrefix(name, prefix)
			if !ok || value == "" || name == "ETCDCTL_API" { // once chose between etcd's API versions
				continue
			}
			if cmd.Name() == "watch" && (suffix == watchKeyVariable || suffix == watchRangeEndVariable) {
				continue
			}
			flag := flags.Lookup(strings.ReplaceAll(strings.ToLower(suffix), "_", "-"))
			switch {
			case flag == nil:
				fmt.Fprintf(cmd.ErrOrStderr(), "Warning: ignoring %s: coordctl has no such global flag\n", name)
			case onCommandLine[flag.Name]:
			case flag.Name == "endpoints":
				s.endpoints = strings.Split(value, ",") // Set would append to what ETCDCTL_ENDPOINTS gave
			default:
				if err := flags.Set(flag.Name, value); err != nil {
					return badArguments("environment variable %s: %w", name, err)
				}
			}
		}
	}
	for _, name := range []string{"cert", "key", "cacert"} {
		// An empty value is most often an unset shell variable: going on without TLS would be worse than stopping.
		if f := flags.Lookup(name); f.Changed && f.Value.String() == "" {
			return badArguments("--%s is empty; name a file or leave the flag out", name)
		}
	}
	for i := range s.endpoints {
		s.endpoints[i] = strings.TrimSpace(s.endpoints[i])
	}
	return nil
}

// client returns a client for the given endpoints. It does not wait for a connection; the caller closes it.
func (s *session) client(endpoints ...string) (*clientv3.Client, error) {
	cfg, err := s.config(endpoints)
	if err != nil {
		return nil, err
	}
	c, err := clientv3.New(*cfg)
	return c, withCode(exitBadConnection, err)
}

func (s *session) config(endpoints []string) (*clientv3.Config, error) {
	spec := s.spec
	spec.Endpoints = endpoints
	spec.Secure = &s.secure
	auth, err := s.auth()
	if err != nil {
		return nil, err
	}
	spec.Auth = auth
	// The client logs retries that the returned error tells about anyway.
	log := zap.NewNop()
	if s.debug {
		log = debugLogger()
	}
	cfg, err := clientv3.NewClientConfig(&spec, log)
	if err != nil {
		return nil, s.secureError(err)
	}
	cfg.Logger = log
	return cfg, nil
}

// secureError is an error in the files of the TLS flags; it names the flag.
func (s *session) secureError(err error) error {
	if (s.secure.Cert == "") != (s.secure.Key == "") {
		return badArguments("give both --cert and --key, or neither")
	}
	if unread, ok := errors.AsType[*fs.PathError](err); ok {
		for flag, file := range map[string]string{"cert": s.secure.Cert, "key": s.secure.Key, "cacert": s.secure.Cacert} {
			if file == unread.Path {
				return badArguments("--%s: %w", flag, err)
			}
		}
	}
	return badArguments("--cert, --key, --cacert: %w", err)
}

// credentials is what the user is known by; prompt asks for a password that no flag gives.
func (s *session) credentials(cmd *cobra.Command, prompt string) (*clientv3.AuthConfig, error) {
	if s.token != "" {
		if s.user != "" || s.password != "" {
			return nil, badArguments("--auth-jwt-token excludes --user and --password")
		}
		return &clientv3.AuthConfig{Token: s.token}, nil
	}
	if s.user == "" {
		if s.password != "" {
			return nil, badArguments("--password needs --user")
		}
		return nil, nil
	}
	if s.password != "" {
		return &clientv3.AuthConfig{Username: s.user, Password: s.password}, nil
	}
	name, password, ok := strings.Cut(s.user, ":")
	if !ok {
		var err error
		if password, err = askPassword(cmd, prompt); err != nil {
			return nil, badArguments("no password for user %q (%w): pass --user %s:PASSWORD, --password or COORDCTL_PASSWORD", name, err, name)
		}
	}
	return &clientv3.AuthConfig{Username: name, Password: password}, nil
}

// call runs f with a client for all endpoints and a context that ends after the command timeout.
func (s *session) call(cmd *cobra.Command, f func(ctx context.Context, c *clientv3.Client) error) error {
	c, err := s.client(s.endpoints...)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), s.commandTimeout)
	defer cancel()
	// What Close could report, a broken connection, has no bearing on an answer already received.
	defer c.Close()
	return s.explainUnreachable(cmd.Context(), f(ctx, c))
}

// do sends one operation and returns its answer.
func (s *session) do(cmd *cobra.Command, op clientv3.Op) (resp clientv3.OpResponse, err error) {
	err = s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
		resp, err = c.Do(ctx, op)
		return clientv3.ContextError(ctx, err)
	})
	return resp, err
}

// memberEndpoints returns the client addresses of every member of the cluster.
func (s *session) memberEndpoints(cmd *cobra.Command) (endpoints []string, err error) {
	err = s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
		resp, err := c.MemberList(ctx)
		if err != nil {
			return fmt.Errorf("list the members for --cluster: %w", err)
		}
		for _, m := range resp.Members {
			endpoints = append(endpoints, m.GetClientURLs()...)
		}
		return nil
	})
	if err == nil && len(endpoints) == 0 {
		err = errors.New("no member has announced a client address; name them with --endpoints")
	}
	return endpoints, err
}

// untilInterrupted returns a context that ends with SIGINT or SIGTERM, the normal end of commands that run until told
// to stop.
func untilInterrupted(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}

// Command coordd is a member of a replicated key-value store that speaks the
// etcd v3 API.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/coordd/coordd/cmd/build"
	"github.com/coordd/coordd/cmd/environment"
	"github.com/coordd/coordd/coordd"
	"github.com/coordd/coordd/coordd/rpc"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd := newCommand(os.Stderr)
	cmd.SetArgs(doubleDashes(os.Args[1:], cmd.Flags()))
	if err := cmd.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func newCommand(stderr io.Writer) *cobra.Command {
	cfg := coordd.Defaults()
	cfg.FleetLock.Open = openFleetLock
	var log logFlags
	var configFile string
	var unknown []string // variables of the environment
	cmd := &cobra.Command{
		Use:   "coordd [flags]",
		Short: "A member of a replicated key-value store that speaks the etcd v3 API",
		Long: `coordd is a member of a replicated key-value store that speaks the etcd v3 API.

Without flags it is a cluster of one member on loopback, with its data in
default.coordd. Flags are etcd's; each can also be set in the environment, as
COORDD_LISTEN_CLIENT_URLS for --listen-client-urls, and in the file that
--config-file names, which has etcd's format. A flag goes before the
environment, that before the file; of a flag given more than once the last
counts. 'coordd completion bash' writes completions for a shell.`,
		Example: `  # one member, for trying things out
  coordd

  # the first of three; the others differ in name and addresses
  coordd --name a --data-dir /var/lib/coordd \
    --listen-client-urls http://10.0.0.1:2379 --advertise-client-urls http://10.0.0.1:2379 \
    --listen-peer-urls http://10.0.0.1:2380 --initial-advertise-peer-urls http://10.0.0.1:2380 \
    --initial-cluster a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380

  # clients must show a certificate of the authority
  coordd --listen-client-urls https://10.0.0.1:2379 --advertise-client-urls https://10.0.0.1:2379 \
    --cert-file server.pem --key-file server-key.pem --trusted-ca-file ca.pem --client-cert-auth`,
		Version:       build.Version(),
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		PreRunE: func(cmd *cobra.Command, _ []string) (err error) {
			unknown, err = readSettings(cmd.Flags(), &configFile)
			return err
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			logs, err := log.open(stderr)
			if err != nil {
				return err
			}
			defer logs.close()
			if len(unknown) > 0 {
				logs.Warn("variables of the environment that name no flag are left alone", "variables", unknown)
			}
			return serve(cmd.Context(), cfg, cmd.Flags(), logs)
		},
	}
	cmd.SetVersionTemplate(fmt.Sprintf("coordd Version: %s\netcd Version: %s\nAPI version: 3.7\n", build.Version(), rpc.Version))
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; see %s --help", plain(err), cmd.CommandPath())
	})
	sections := append(bindFlags(cmd.Flags(), &cfg), log.bind(cmd.Flags()))
	general := newFlagSet()
	general.StringVar(&configFile, "config-file", "", "file of settings that neither flags nor the environment give")
	cmd.Flags().AddFlagSet(general)
	bindUnserved(cmd.Flags())
	setUsage(cmd, append([]section{{"Settings", general}}, sections...))
	return cmd
}

// setUsage makes --help show the flags by section.
func setUsage(cmd *cobra.Command, sections []section) {
	inherited := cmd.UsageFunc()
	cmd.SetUsageFunc(func(c *cobra.Command) error {
		if c != cmd {
			return inherited(c)
		}
		out := c.OutOrStderr()
		fmt.Fprintf(out, "Usage:\n  %s\n\nExamples:\n%s\n", c.UseLine(), c.Example)
		for _, s := range sections {
			fmt.Fprintf(out, "\n%s:\n%s", s.title, s.flags.FlagUsagesWrapped(110))
		}
		_, err := fmt.Fprintf(out, "\n%s", unservedHelp())
		return err
	})
}

// readSettings sets what the command line has not: from the environment, then
// from the configuration file. It returns the variables that name no flag.
func readSettings(flags *pflag.FlagSet, configFile *string) (unknown []string, err error) {
	if unknown, err = environment.Set(flags, "COORDD_", os.Environ()); err != nil {
		return nil, err
	}
	if *configFile != "" {
		if err := readConfigFile(*configFile, flags); err != nil {
			return nil, err
		}
	}
	if flags.Changed("listen-client-urls") && !flags.Changed("advertise-client-urls") {
		return nil, errors.New("--listen-client-urls needs --advertise-client-urls: the addresses at which clients reach this member, which need not be those it listens on")
	}
	return unknown, nil
}

// doubleDashes writes -name as --name where there is such a flag: etcd's flags
// may be given either way.
func doubleDashes(args []string, flags *pflag.FlagSet) []string {
	out := make([]string, len(args))
	for i, arg := range args {
		name, single := strings.CutPrefix(arg, "-")
		name, _, _ = strings.Cut(name, "=")
		if single && len(name) > 1 && flags.Lookup(name) != nil {
			arg = "-" + arg
		}
		out[i] = arg
	}
	return out
}

// serve runs a member until it is told to stop or cannot go on.
func serve(ctx context.Context, cfg coordd.Config, flags *pflag.FlagSet, logs *logs) (err error) {
	if cfg.Sockets, err = inheritedSockets(); err != nil {
		return err
	}
	logs.Info("starting", "version", build.Version(), "api", rpc.Version, "settings", given(flags))
	toggles := make(chan os.Signal, 1)
	signal.Notify(toggles, syscall.SIGUSR1)
	defer signal.Stop(toggles)

	server, err := coordd.Start(cfg, logs.Logger)
	if err != nil {
		return err
	}
	watching, unwatch := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { watchdog(watching, server.Alive, logs.Logger) })
	defer running.Wait()
	defer unwatch()
	notify(logs.Logger, "STATUS=waiting for its cluster")
	ready := server.Ready()
	for {
		select {
		case <-ready:
			logs.Info("ready to serve client requests", "name", cfg.Name, "urls", server.ClientURLs())
			notify(logs.Logger, daemon.SdNotifyReady+"\nSTATUS=serving")
			ready = nil
		case <-toggles:
			logs.toggle()
		case <-server.Failed():
			notify(logs.Logger, daemon.SdNotifyStopping)
			server.Stop()
			return errors.Join(errors.New("this member cannot go on"), server.Err())
		case <-ctx.Done():
			logs.Info("stopping")
			notify(logs.Logger, daemon.SdNotifyStopping+"\nSTATUS=stopping")
			server.Stop()
			return nil
		}
	}
}

// given are the settings that the command line, the environment and the file
// have made, for the log.
func given(flags *pflag.FlagSet) []string {
	var all []string
	flags.Visit(func(f *pflag.Flag) { all = append(all, f.Name+"="+f.Value.String()) })
	return all
}

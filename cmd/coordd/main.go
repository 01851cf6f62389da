// Command coordd is a member of a replicated key-value store that speaks the
// etcd v3 API.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/coordd/coordd/cmd/build"
	"github.com/coordd/coordd/cmd/environment"
	"github.com/coordd/coordd/coordd"
	"github.com/coordd/coordd/coordd/rpc"
	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newCommand(os.Stderr).ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func newCommand(logs io.Writer) *cobra.Command {
	cfg := coordd.Defaults()
	var log logFlags
	cmd := &cobra.Command{
		Use:   "coordd [flags]",
		Short: "A member of a replicated key-value store that speaks the etcd v3 API",
		Long: `coordd is a member of a replicated key-value store that speaks the etcd v3 API.

Without flags it is a cluster of one member on loopback, with its data in
default.coordd. Flags are etcd's; each can also be set in the environment, as
COORDD_LISTEN_CLIENT_URLS for --listen-client-urls. A flag goes before the
environment; of a flag given more than once the last counts.`,
		Example: `  # one member, for trying things out
  coordd

  # the first of three; the others differ in name and addresses
  coordd --name a --data-dir /var/lib/coordd \
    --listen-client-urls http://10.0.0.1:2379 --advertise-client-urls http://10.0.0.1:2379 \
    --listen-peer-urls http://10.0.0.1:2380 --initial-advertise-peer-urls http://10.0.0.1:2380 \
    --initial-cluster a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380`,
		Version:       build.Version(),
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			return environment.Set(cmd.Flags(), "COORDD_", os.Environ())
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, err := log.logger(logs)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), cfg, logger)
		},
	}
	cmd.SetVersionTemplate(fmt.Sprintf("coordd Version: %s\netcd Version: %s\nAPI version: 3.7\n", build.Version(), rpc.Version))
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())
	})
	bindFlags(cmd.Flags(), &cfg)
	log.bind(cmd.Flags())
	return cmd
}

// serve runs a member until it is told to stop or cannot go on.
func serve(ctx context.Context, cfg coordd.Config, logger *slog.Logger) error {
	server, err := coordd.Start(cfg, logger)
	if err != nil {
		return err
	}
	ready := server.Ready()
	for {
		select {
		case <-ready:
			logger.Info("ready to serve client requests", "name", cfg.Name, "urls", server.ClientURLs())
			ready = nil
		case <-server.Failed():
			server.Stop()
			return errors.Join(errors.New("this member cannot go on"), server.Err())
		case <-ctx.Done():
			logger.Info("stopping")
			server.Stop()
			return nil
		}
	}
}

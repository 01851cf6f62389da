package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/coordd/coordd/cmd/build"
)

func newCommand(environ []string) *cobra.Command {
	s, logFormat := &settings{}, ""
	cmd := &cobra.Command{
		Use:   "locksmithd",
		Short: "Reboot this machine when it is its turn",
		Long: `locksmithd reboots this machine when a reboot is wanted, when it may be, and when it is
the machine's turn.

A reboot is wanted while the sentinel file exists, or when another trigger says so. It
may be while a window is open and nothing blocks it: no inhibitor, nobody who is logged
in, no alert, no member of the store too few. It is the machine's turn when it is
granted a slot of its group. locksmithd then warns those who are logged in, runs the
programs before a reboot, looks at all of it once more, and asks logind. The slot stays
taken while the machine is down. When it is back, under another boot id and in order,
locksmithd gives the slot back and the next machine goes. A machine that does not come
back, or not well, keeps its slot: locksmithctl shows it, and unlock frees it.

Settings come from /etc/locksmith/locksmithd.yaml and its drop-ins, update.conf of
CoreOS and Flatcar, the environment, and the command line, each over the one before:
"locksmithd config" shows them, and "locksmithd check" what the agent would do now.
A wrong setting keeps it from starting.

It ends with 0 when it is told to, when the machine goes down, and with strategy off;
with 1 when it cannot start.`,
		Example: `  locksmithd --endpoints http://10.0.0.1:2379,http://10.0.0.2:2379,http://10.0.0.3:2379
  locksmithd --group web --set expected_duration=10m --set metrics.listen=127.0.0.1:9104
  locksmithd check`,
		Version:       build.Version(),
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := newLog(cmd.ErrOrStderr(), logFormat)
			if err != nil {
				return err
			}
			loaded, err := s.load(environ)
			if err != nil {
				return err
			}
			for _, warning := range loaded.Warnings {
				log.Warn(warning)
			}
			return run(cmd.Context(), &loaded.Config, log)
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("locksmithd: %w; see %s --help", err, cmd.CommandPath())
	})
	s.bind(cmd.Flags())
	cmd.Flags().StringVar(&logFormat, "log-format", "text", "text or json; not asked where the journal is listening")
	cmd.AddCommand(newConfigCommand(environ), newCheckCommand(environ))
	return cmd
}

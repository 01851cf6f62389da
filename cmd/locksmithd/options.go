package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/coordd/coordd/cmd/build"
	"github.com/coordd/coordd/cmd/environment"
	"github.com/coordd/coordd/locksmith/agent"
	"github.com/coordd/coordd/locksmith/slots"
)

const environmentPrefix = "LOCKSMITHD_"

// options is what the command line and the environment say.
type options struct {
	client        slots.ClientConfig
	group         string
	id            string
	idFile        string
	zone          string
	reason        string
	sentinelFile  string
	rebootCommand string
	bootIDFile    string
	poll          time.Duration
	backOff       time.Duration
}

func newCommand(environ []string) *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:   "locksmithd",
		Short: "Reboot this machine when it is its turn",
		Long: `locksmithd reboots this machine when a reboot is wanted and it is the machine's turn.

A reboot is wanted while the sentinel file exists. locksmithd then takes a slot of the
machine's group, looks once more whether all still stands, and runs the reboot command.
The slot stays taken while the machine is down. When it is back, under another boot id,
locksmithd gives the slot back and the next machine goes. A machine that does not come
back keeps its slot: locksmithctl shows it, and unlock frees it.

Flags can be given in the environment: --etcd-cafile is LOCKSMITHD_ETCD_CAFILE. The
flag wins.`,
		Example: `  locksmithd --endpoints http://10.0.0.1:2379,http://10.0.0.2:2379,http://10.0.0.3:2379
  locksmithd --group web --reboot-command 'systemctl kexec'`,
		Version:       build.Version(),
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			unknown, err := environment.Set(cmd.Flags(), environmentPrefix, environ)
			if err != nil {
				return fmt.Errorf("locksmithd: %w", err)
			}
			for _, name := range unknown {
				fmt.Fprintf(cmd.ErrOrStderr(), "Warning: ignoring %s: locksmithd has no such flag\n", name)
			}
			return run(cmd.Context(), o)
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return fmt.Errorf("locksmithd: %w; see locksmithd --help", err)
	})
	o.bind(cmd.Flags())
	cmd.AddCommand(newConfigCommand(environ))
	return cmd
}

func (o *options) bind(f *pflag.FlagSet) {
	f.SortFlags = false
	f.StringSliceVar(&o.client.Endpoints, "endpoints", []string{"http://127.0.0.1:2379"}, "URLs of the store's members, separated by commas")
	f.StringVar(&o.group, "group", slots.DefaultGroup, "group of machines that share slots")
	f.StringVar(&o.id, "machine-id", "", "id of this machine (default: the content of --machine-id-file)")
	f.StringVar(&o.idFile, "machine-id-file", "/etc/machine-id", "file that holds the id of this machine")
	f.StringVar(&o.zone, "zone", "", "failure domain of this machine, for people")
	f.StringVar(&o.reason, "reason", "a reboot is required", "why the machine reboots, for people")
	f.StringVar(&o.sentinelFile, "sentinel-file", "/run/reboot-required", "a reboot is wanted while this file exists; it must not survive the reboot")
	f.StringVar(&o.rebootCommand, "reboot-command", "systemctl reboot", "program and arguments, split at spaces, without a shell; exit status 0 means that the machine goes down")
	f.StringVar(&o.bootIDFile, "boot-id-file", "/proc/sys/kernel/random/boot_id", "file whose content differs after every boot")
	f.DurationVar(&o.poll, "poll", 5*time.Second, "time between two looks at the sentinel file")
	f.DurationVar(&o.backOff, "back-off", 5*time.Minute, "time to wait after a reboot command that failed")
	f.StringVar(&o.client.CAFile, "etcd-cafile", "", "PEM file of the authorities that vouch for the store")
	f.StringVar(&o.client.CertFile, "etcd-certfile", "", "PEM file of this machine's certificate")
	f.StringVar(&o.client.KeyFile, "etcd-keyfile", "", "PEM file of this machine's key")
	f.StringVar(&o.client.Username, "etcd-username", "", "user of the store")
	f.StringVar(&o.client.Password, "etcd-password", "", "the user's password; better in LOCKSMITHD_ETCD_PASSWORD, where ps does not show it")
}

func (o *options) machineID() (string, error) {
	if o.id != "" {
		return o.id, nil
	}
	b, err := os.ReadFile(o.idFile)
	if err != nil {
		return "", fmt.Errorf("locksmithd: read this machine's id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// host checks at start what would else fail with a slot in hand.
func (o *options) host() (*agent.Host, error) {
	command := strings.Fields(o.rebootCommand)
	if len(command) == 0 {
		return nil, errors.New("locksmithd: --reboot-command is empty: give the program that reboots this machine")
	}
	if _, err := exec.LookPath(command[0]); err != nil {
		return nil, fmt.Errorf("locksmithd: --reboot-command: %w", err)
	}
	return &agent.Host{BootIDFile: o.bootIDFile, SentinelFile: o.sentinelFile, RebootCommand: command}, nil
}

package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/coordd/coordd/locksmith/config"
)

// settings are what the command line says of the configuration.
type settings struct {
	file      string
	overrides []config.Override
}

// load reads the configuration with them.
func (s *settings) load(environ []string) (*config.Loaded, error) {
	return config.Load(config.Input{File: s.file, Environ: environ, Flags: s.overrides})
}

// bind adds --config, --set, and a flag for each setting that is often given.
func (s *settings) bind(f *pflag.FlagSet) {
	f.SortFlags = false
	f.StringVar(&s.file, "config", "", "file that is read instead of /etc/locksmith/locksmithd.yaml and its drop-ins")
	f.Var(&settingFlag{settings: s, origin: "--set"}, "set", "a setting as poll=5s or store.endpoints=http://a:2379,http://b:2379; may be repeated")
	for _, flag := range [][3]string{
		{"endpoint", "store.endpoints", "URLs of the store's members, separated by commas"},
		{"endpoints", "store.endpoints", "the same"},
		{"group", "machine.group", "group of machines that share slots"},
		{"machine-id", "machine.id", "id of this machine"},
		{"machine-id-file", "machine.id_file", "file that holds the id of this machine"},
		{"boot-id-file", "machine.boot_id_file", "file whose content differs after every boot"},
		{"zone", "machine.zone", "failure domain of this machine"},
		{"strategy", "strategy", "etcd-lock, reboot or off"},
		{"sentinel-file", "triggers.sentinel_file", "a reboot is wanted while this file exists; it must not survive the reboot"},
		{"reason", "reboot.reason", "why the machine reboots, for people"},
		{"reboot-command", "reboot.command", "program and arguments that reboot instead of logind, split at spaces"},
		{"poll", "poll", "time between two looks at the machine"},
		{"back-off", "reboot.back_off", "time to wait after a reboot that failed"},
		{"etcd-cafile", "store.ca_file", "PEM file of the authorities that vouch for the store"},
		{"etcd-certfile", "store.cert_file", "PEM file of this machine's certificate"},
		{"etcd-keyfile", "store.key_file", "PEM file of this machine's key"},
		{"etcd-username", "store.username", "user of the store"},
		{"etcd-password", "store.password", "the user's password; better in store.password_file, for ps shows this one"},
	} {
		f.Var(&settingFlag{settings: s, origin: "--" + flag[0], setting: flag[1]}, flag[0], flag[2]+" ("+flag[1]+")")
	}
}

// settingFlag is a flag that gives one setting, or with none of its own any.
type settingFlag struct {
	settings *settings
	origin   string
	setting  string
}

func (f *settingFlag) String() string { return "" }
func (f *settingFlag) Type() string   { return "value" }

func (f *settingFlag) Set(text string) error {
	setting := f.setting
	if setting == "" {
		var ok bool
		if setting, text, ok = strings.Cut(text, "="); !ok {
			return fmt.Errorf("%q must be setting=value, as poll=5s", setting)
		}
	}
	f.settings.overrides = append(f.settings.overrides, config.Override{Setting: setting, Value: text, Origin: f.origin})
	return nil
}

// newConfigCommand shows what the agent would run with.
func newConfigCommand(environ []string) *cobra.Command {
	s, output := &settings{}, ""
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show the configuration, and where each setting comes from",
		Long: `config reads the files, the environment and its flags as the agent does, and shows each
setting with where it was set. What is wrong is named, and makes it fail. Passwords are
not shown. The output is a file that the agent can be given.`,
		Example: `  locksmithd config
  locksmithd config --output json
  locksmithd config --config new.yaml    # is it right?`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := s.load(environ)
			if err != nil {
				return err
			}
			for _, warning := range loaded.Warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), "Warning:", warning)
			}
			text, err := []byte(nil), fmt.Errorf("locksmithd: --output: %q must be yaml or json", output)
			switch output {
			case "yaml":
				text, err = loaded.YAML()
			case "json":
				text, err = loaded.JSON()
			}
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	s.bind(cmd.Flags())
	cmd.Flags().StringVar(&output, "output", "yaml", "yaml or json")
	return cmd
}

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/coordd/coordd/cmd/build"
	"github.com/coordd/coordd/cmd/environment"
	"github.com/coordd/coordd/locksmith/slots"
)

const environmentPrefix = "LOCKSMITHCTL_"

func newRootCommand(environ []string) *cobra.Command {
	s := &session{euid: os.Geteuid}
	root := &cobra.Command{
		Use:   "locksmithctl",
		Short: "Show and change the reboot slots of a group of machines",
		Long: `locksmithctl shows and changes the reboot slots of a group of machines.

A machine reboots only while it holds a slot of its group. A group has one slot until
set-max says otherwise, so one machine is down at a time. A slot has no time limit: it
stays taken until its machine is back and well, or somebody unlocks it. plan shows who goes
next, and explain why a machine does not.

Flags can be written with one dash or two, and be given in the environment:
-etcd-cafile is LOCKSMITHCTL_ETCD_CAFILE. The flag wins.

Exit codes: 0 done, 1 the command failed or was refused, 2 the command line is wrong. What
went wrong is text on standard error, also with -o json; standard output is empty then.`,
		Example: `  locksmithctl status
  locksmithctl plan
  locksmithctl explain web-7
  locksmithctl pause --reason 'the new kernel does not boot'
  locksmithctl -endpoint https://10.0.0.1:2379,https://10.0.0.2:2379 -etcd-cafile ca.pem set-max 2
  locksmithctl unlock 4f2e81a06f4b4e0d8a4b1f0b2f4ee4c1`,
		Version:       build.Version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			unknown, err := environment.Set(cmd.Flags(), environmentPrefix, environ)
			for _, name := range unknown {
				fmt.Fprintf(cmd.ErrOrStderr(), "Warning: ignoring %s: locksmithctl has no such flag\n", name)
			}
			if err == nil && s.output != "text" && s.output != "json" {
				err = fmt.Errorf("locksmithctl: output %q is neither text nor json", s.output)
			}
			if err == nil && s.client.Timeout <= 0 {
				err = fmt.Errorf("locksmithctl: timeout %v: it must be above 0", s.client.Timeout)
			}
			return err
		},
	}
	root.SetVersionTemplate("locksmithctl version {{.Version}}\n")
	s.bind(root.PersistentFlags())
	addGroup(root, "look", "See what goes on:", newStatusCommand(s), newPlanCommand(s), newExplainCommand(s),
		newWatchCommand(s), newHistoryCommand(s), newSimulateCommand(s))
	addGroup(root, "change", "Change it:", newLockCommand(s), newUnlockCommand(s), newSetMaxCommand(s),
		newPolicyCommand(s), newPauseCommand(s), newResumeCommand(s),
		newRebootCommand(s), newSendNeedRebootCommand(s))
	addGroup(root, "serve", "Serve others:", newServeCommand(s))
	addGroup(root, "services", "Restart and start services in turn:", newRestartCommand(s), newStartSlotCommand(s))
	return root
}

// addGroup adds commands that help shows together.
func addGroup(root *cobra.Command, id, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: id, Title: title})
	for _, c := range commands {
		c.GroupID = id
		root.AddCommand(c)
	}
}

func (s *session) bind(f *pflag.FlagSet) {
	f.SortFlags = false
	f.StringSliceVar(&s.client.Endpoints, "endpoint", []string{"http://127.0.0.1:2379"}, "URLs of the store's members, separated by commas")
	f.StringVar(&s.group, "group", "", "group of machines (default \""+slots.DefaultGroup+"\")")
	f.StringVar(&s.client.CAFile, "etcd-cafile", "", "PEM file of the authorities that vouch for the store")
	f.StringVar(&s.client.CertFile, "etcd-certfile", "", "PEM file of this client's certificate")
	f.StringVar(&s.client.KeyFile, "etcd-keyfile", "", "PEM file of this client's key")
	f.StringVar(&s.client.Username, "etcd-username", "", "user of the store")
	f.StringVar(&s.client.Password, "etcd-password", "", "the user's password; better in LOCKSMITHCTL_ETCD_PASSWORD, where ps does not show it")
	f.DurationVar(&s.client.Timeout, "timeout", 5*time.Second, "how long to wait for the store")
	f.StringVarP(&s.output, "output", "o", "text", "text or json")
	f.BoolVar(&s.dryRun, "dry-run", false, "say what would be done, and change nothing")
	f.BoolVar(&s.debug, "debug", false, "say on standard error what is done")
	f.Bool("version", false, "print the version")
}

// doubleDashes turns -endpoint, which pflag would read as -e ndpoint, into
// --endpoint, and keeps negative numbers from being read as flags, unless they are
// the value of one.
func doubleDashes(root *cobra.Command, args []string) []string {
	known := map[string]*pflag.Flag{"help": {NoOptDefVal: "true"}}
	note := func(f *pflag.Flag) { known[f.Name] = f }
	root.PersistentFlags().VisitAll(note)
	for _, c := range root.Commands() {
		c.Flags().VisitAll(note)
	}
	var out, numbers []string
	takesNext := false
	for i, arg := range args {
		if arg == "--" {
			return append(append(out, "--"), append(numbers, args[i+1:]...)...)
		}
		if _, err := strconv.Atoi(arg); err == nil && strings.HasPrefix(arg, "-") && !takesNext {
			numbers = append(numbers, arg)
			continue
		}
		name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		flag := known[name]
		if strings.HasPrefix(arg, "-") && !strings.HasPrefix(arg, "--") && flag != nil && !takesNext {
			arg = "-" + arg
		}
		takesNext = !takesNext && strings.HasPrefix(arg, "--") && flag != nil && flag.NoOptDefVal == "" && !hasValue
		out = append(out, arg)
	}
	if len(numbers) > 0 {
		out = append(append(out, "--"), numbers...)
	}
	return out
}

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newCompletionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion [bash|zsh|fish|powershell]",
		Short: "Print a script that teaches a shell to complete coordctl's commands",
		Example: `  source <(coordctl completion bash)
  coordctl completion bash > /etc/bash_completion.d/coordctl
  coordctl completion zsh > "${fpath[1]}/_coordctl"
  coordctl completion fish > ~/.config/fish/completions/coordctl.fish
  coordctl completion powershell | Out-String | Invoke-Expression`,
		Annotations:           map[string]string{offline: "yes"},
		DisableFlagsInUseLine: true,
		ValidArgs:             []string{"bash", "zsh", "fish", "powershell"},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(cmd.ValidArgs, args[0]) {
				return fmt.Errorf("%s needs the name of a shell: %s", cmd.CommandPath(), strings.Join(cmd.ValidArgs, ", "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			default:
				return root.GenPowerShellCompletionWithDesc(out)
			}
		},
	}
}

// completionTimeout is how long somebody who has pressed the tabulator is kept waiting for names.
const completionTimeout = time.Second

// completeNames completes the first argument, or a flag, with names that stand in the cluster; there are none if it does
// not answer in time, or wants a password.
func (s *session) completeNames(list func(context.Context, clientv3.KV) ([]string, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		cmd.SetErr(io.Discard) // the shell is in the middle of a line
		if len(args) > 0 || s.prepare(cmd, os.Environ()) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		if s.user != "" && s.password == "" && !strings.Contains(s.user, ":") {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		s.commandTimeout = min(s.commandTimeout, completionTimeout)
		var names []string
		err := s.call(cmd, func(ctx context.Context, c *clientv3.Client) (err error) {
			names, err = list(ctx, c)
			return err
		})
		names = slices.DeleteFunc(names, func(name string) bool {
			return !strings.HasPrefix(name, begun) || strings.ContainsFunc(name, unicode.IsControl)
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

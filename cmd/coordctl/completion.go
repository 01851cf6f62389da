package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
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

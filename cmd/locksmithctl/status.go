package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/coordd/coordd/locksmith/line"
	"github.com/coordd/coordd/locksmith/slots"
)

func newStatusCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how many slots are free and which machines hold one",
		Long: `status shows how many slots are free, how many there are, and the ids of the machines
that hold one. With -o json it shows the whole records: phase, boot id, reason and more.`,
		Example: `  locksmithctl status
  locksmithctl status -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.withGroup(cmd, "getting status", func(ctx context.Context, g *slots.Group) error {
				state, err := g.State(ctx)
				if err != nil {
					return err
				}
				if s.json() {
					return printJSON(cmd.OutOrStdout(), struct {
						Available int `json:"available"`
						*slots.State
					}{state.Available(), state})
				}
				if p := state.Pause; p != nil { // scripts read the output, and know nothing of pauses
					fmt.Fprintf(cmd.ErrOrStderr(), "Paused by %s: %s\n", line.Printable(p.By), line.Printable(p.Reason))
				}
				return printStatus(cmd.OutOrStdout(), state)
			})
		},
	}
}

func printStatus(w io.Writer, s *slots.State) error {
	text := fmt.Sprintf("Available: %d\nMax: %d\n", s.Available(), s.Max)
	if len(s.Holders) > 0 {
		text += "\nMACHINE ID\n"
	}
	for _, r := range s.Holders {
		text += r.ID + "\n"
	}
	_, err := io.WriteString(w, text)
	return err
}

// printJSON writes a value for programs.
func printJSON(w io.Writer, value any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(value)
}

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/coordd/coordd/coordd/datadir"
	"github.com/coordd/coordd/kvcore/backend"
	"github.com/spf13/cobra"
)

func newDebugCommand(s *session) *cobra.Command {
	return parent(&cobra.Command{
		Use:   "debug <command>",
		Short: "Look inside a member's data directory, without a server",
		Long: `Look inside a member's data directory, without a server. Nothing is changed: no damage is repaired and no torn
write cut off. The member must not run; look at a copy of its directory, or at a backup, where it does.

Output is one line for each thing found, or with --write-out json one JSON object, made to be piped into less, grep
and jq.`,
		Example: `  coordctl debug wal --data-dir /var/lib/coordd | tail
  coordctl debug db backup.db --key /config/
  coordctl debug hash backup.db`,
	}, newDebugWALCommand(s), newDebugDBCommand(s), newDebugSnapCommand(s), newDebugHashCommand(s))
}

// directory is the flags that say which member's directory to look into.
type directory struct{ datadir.Layout }

func (d *directory) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&d.Data, "data-dir", "default.coordd", "the member's data directory")
}

// store returns the argument, a file's name, or without one the directory's store.
func (d *directory) store(cmd *cobra.Command, args []string) (string, error) {
	switch len(args) {
	case 0:
		return d.Store(), nil
	case 1:
		return args[0], nil
	}
	return "", badArguments("%s takes at most one argument, a file name, but got %q", cmd.CommandPath(), args)
}

// openForReading opens a store's file, or a backup.
func openForReading(path string) (backend.Backend, error) {
	b, err := backend.OpenBoltReadOnly(path)
	if errors.Is(err, backend.ErrInUse) {
		return nil, fmt.Errorf("%w: stop the member, or look at a backup of it", err)
	}
	return b, err
}

// stream writes things line by line as they are found, however many there are.
type stream struct {
	*bufio.Writer
	json bool
}

// stream takes simple and json of --write-out.
func (s *session) stream(cmd *cobra.Command) (*stream, error) {
	if s.format != "simple" && s.format != "json" {
		return nil, withCode(exitBadFeature, fmt.Errorf("%s not supported as output format of %q; use json, simple", s.format, cmd.CommandPath()))
	}
	return &stream{bufio.NewWriter(cmd.OutOrStdout()), s.format == "json"}, nil
}

// put writes one thing: text, or value as JSON. The error of a write comes with Flush.
func (w *stream) put(value any, format string, args ...any) error {
	if !w.json {
		fmt.Fprintf(w, format+"\n", args...)
		return nil
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode as JSON: %w", err)
	}
	w.Write(append(encoded, '\n'))
	return nil
}

// hexID is how members and clusters are named everywhere.
func hexID(id uint64) string { return strconv.FormatUint(id, 16) }

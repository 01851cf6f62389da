package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/coordd/coordd/coordd/snap"
	"github.com/coordd/coordd/kvcore/backend"
	"github.com/spf13/cobra"
)

func newDebugSnapCommand(s *session) *cobra.Command {
	var dir directory
	cmd := &cobra.Command{
		Annotations: map[string]string{offline: "yes"},
		Use:         "snap",
		Short:       "Show the store and what was received from the leader",
		Long: `Show the files in member/snap: the store, stores received from the leader that wait to take its place, and
what an interrupted transfer has left, which the member removes when it starts. Stores are checked whole.`,
		Example: `  coordctl debug snap --data-dir /var/lib/coordd`,
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := s.stream(cmd)
			if err != nil {
				return err
			}
			if err := noArguments(cmd, args); err != nil {
				return err
			}
			entries, err := os.ReadDir(dir.Snap())
			if err != nil {
				return fmt.Errorf("no store to show, see --data-dir: %w", err)
			}
			lock, err := dir.LockForReading()
			if err != nil {
				return err
			}
			defer lock.Close() // nothing was written under it
			for _, e := range entries {
				info, err := e.Info()
				if err != nil {
					return err
				}
				f := describeFile(filepath.Join(dir.Snap(), e.Name()), info.Size())
				if err := out.put(f, "%s  %s  %s%s", f.Name, humanBytes(f.Size), f.Is, f.detail()); err != nil {
					return err
				}
			}
			return out.Flush()
		},
	}
	dir.bind(cmd)
	return cmd
}

// snapFile is a file in a member's snap directory.
type snapFile struct {
	Name     string `json:"name"`
	Size     int64  `json:"size"` // bytes
	Is       string `json:"is"`
	Index    uint64 `json:"index,omitempty"` // of the last entry in it
	Term     uint64 `json:"term,omitempty"`
	Unsound  string `json:"unsound,omitempty"` // why it cannot be read
	expected snap.Position
}

func describeFile(path string, size int64) snapFile {
	f := snapFile{Name: filepath.Base(path), Size: size}
	switch position, received := snap.ParseReceived(f.Name); {
	case f.Name == "db":
		f.Is = "the store"
	case received && filepath.Ext(path) == ".delta":
		f.Is, f.Index, f.Term = "what the store lacks, received from the leader, to be merged", position.Index, position.Term
		f.Unsound = checkDelta(path)
		return f
	case received:
		f.Is, f.expected = "a store received from the leader, to be installed", position
	case f.Name == "db.defrag":
		f.Is = "the beginning of a defragmentation"
		return f
	case snap.IsPartial(f.Name):
		f.Is = "the beginning of a store that was being received"
		return f
	default:
		f.Is = "not known to this version"
		return f
	}
	b, err := backend.OpenBoltReadOnly(path)
	if err != nil {
		f.Unsound = err.Error()
		return f
	}
	f.Index, f.Term = b.Applied()
	if at := (snap.Position{Index: f.Index, Term: f.Term}); f.expected != (snap.Position{}) && at != f.expected {
		f.Unsound = fmt.Sprintf("its name says %s", f.expected)
	}
	if err := b.Close(); err != nil {
		f.Unsound = err.Error()
	}
	return f
}

// checkDelta returns why a received delta cannot be read, "" if it can.
func checkDelta(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer file.Close() // it was only read
	if err := backend.ReadDelta(file, func(backend.Bucket, []byte, []byte) error { return nil }); err != nil {
		return err.Error()
	}
	return ""
}

func (f *snapFile) detail() string {
	text := ""
	if f.Index > 0 {
		text = fmt.Sprintf(", up to entry %d of term %d", f.Index, f.Term)
	}
	if f.Unsound != "" {
		text += ": UNSOUND: " + f.Unsound
	}
	return text
}

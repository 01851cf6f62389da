package main

import (
	"strconv"
	"strings"

	"github.com/coordd/coordd/coordd/restore"
	"github.com/spf13/cobra"
)

func newSnapshotStatusCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Annotations: map[string]string{offline: "yes"},
		Use:         "status <filename>",
		Short:       "Show what a backup holds",
		Long: `Show what a backup holds, after checking its checksum and its structure: hash of the whole file's content,
revision, number of keys, size without the checksum, and the etcd release whose layout it says it has (nothing before
3.6). The file may also be the store of a member that does not run, member/snap/db in its data directory.`,
		Example: `  coordctl snapshot status backup.db -w table`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, snapshotResult{})
			if err != nil {
				return err
			}
			path, err := oneFile(cmd, args)
			if err != nil {
				return err
			}
			status, err := restore.Inspect(path)
			if err != nil {
				return err
			}
			return p.print(snapshotResult(status))
		},
	}
}

type snapshotResult restore.Status

func (r snapshotResult) simple(t *text) {
	_, rows := r.table(t)
	for _, row := range rows {
		t.line(strings.Join(row, ", "))
	}
}

func (r snapshotResult) fields(t *text) {
	t.field("Hash", r.Hash)
	t.field("Revision", r.Revision)
	t.field("Keys", r.TotalKey)
	t.field("Size", r.TotalSize)
	t.field("Version", r.Version)
}

func (r snapshotResult) value(bool) any {
	return struct {
		Hash      uint32 `json:"hash"`
		Revision  int64  `json:"revision"`
		TotalKey  int    `json:"totalKey"`
		TotalSize int64  `json:"totalSize"`
		Version   string `json:"version"`
	}(r)
}

func (r snapshotResult) table(*text) (header []string, rows [][]string) {
	return []string{"hash", "revision", "total keys", "total size", "version"}, [][]string{{
		strconv.FormatUint(uint64(r.Hash), 16), strconv.FormatInt(r.Revision, 10), strconv.Itoa(r.TotalKey),
		humanBytes(r.TotalSize), r.Version,
	}}
}

package main

import (
	"errors"
	"strconv"
	"strings"

	"github.com/coordd/coordd/kvcore"
	"github.com/spf13/cobra"
)

func newDebugHashCommand(s *session) *cobra.Command {
	var (
		dir directory
		rev int64
	)
	cmd := &cobra.Command{
		Annotations: map[string]string{offline: "yes"},
		Use:         "hash [FILE]",
		Short:       "Hash the keys and their history in a store or backup",
		Long: `Hash the keys and their history in a backup or a store, by default that of --data-dir. It is the hash that
endpoint hashkv gets from members, and that etcdutl hashkv gets from files: equal at one revision, after the same
compaction, wherever the data are the same. The keys' index is built in memory, as a member does.`,
		Example: `  coordctl debug hash backup.db
  coordctl debug hash --data-dir /var/lib/coordd --rev 1200`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, fileHash{})
			if err != nil {
				return err
			}
			path, err := dir.store(cmd, args)
			if err != nil {
				return err
			}
			hash, err := hashFile(path, rev)
			if err != nil {
				return err
			}
			return p.print(fileHash(hash))
		},
	}
	dir.bind(cmd)
	cmd.Flags().Int64Var(&rev, "rev", 0, "last revision to hash; 0 means the newest")
	return cmd
}

func hashFile(path string, rev int64) (kvcore.Hash, error) {
	b, err := openForReading(path)
	if err != nil {
		return kvcore.Hash{}, err
	}
	store, err := kvcore.Open(b, kvcore.Defaults())
	if err != nil {
		return kvcore.Hash{}, errors.Join(err, b.Close())
	}
	hash, err := store.HashKV(rev)
	return hash, errors.Join(err, store.Close())
}

type fileHash kvcore.Hash

func (r fileHash) simple(t *text) {
	_, rows := r.table(t)
	t.line(strings.Join(rows[0], ", "))
}

func (r fileHash) fields(t *text) {
	t.field("Hash", r.Hash)
	t.field("Hash revision", r.HashRevision)
	t.field("Compact revision", r.CompactRevision)
}

func (r fileHash) value(bool) any {
	return struct {
		Hash            uint32 `json:"hash"`
		HashRevision    int64  `json:"hashRevision"`
		CompactRevision int64  `json:"compactRevision"`
	}{r.Hash, r.HashRevision, r.CompactRevision}
}

func (r fileHash) table(*text) (header []string, rows [][]string) {
	return []string{"hash", "hash revision", "compact revision"}, [][]string{{
		strconv.FormatUint(uint64(r.Hash), 10), strconv.FormatInt(r.HashRevision, 10), strconv.FormatInt(r.CompactRevision, 10),
	}}
}

package coordd

import (
	"context"
	"fmt"
	"time"

	"github.com/coordd/coordd/coordd/compact"
	"github.com/coordd/coordd/coordd/corrupt"
	"github.com/coordd/coordd/coordd/quota"
	"github.com/coordd/coordd/kvcore"
)

// startUpkeep starts what looks after the store without being asked.
func (s *Server) startUpkeep() {
	s.quota = s.newQuota()
	s.running.Go(func() { s.quota.Run(s.ctx) })
	s.running.Go(s.yieldWhenDamaged)
	checks := &corrupt.Driver{
		Node: s.node, Store: s.storage.store, HashKV: s.transport.HashKV,
		Every: s.cfg.CorruptCheckTime, AtCompactions: s.cfg.CompactHashCheckTime,
		Logger: s.log,
	}
	s.running.Go(func() { checks.Run(s.ctx) })
	// Validate has read the same.
	if policy, _ := compact.NewPolicy(s.cfg.AutoCompactionMode, s.cfg.AutoCompactionRetention, time.Now()); policy != nil {
		compactor := &compact.Driver{Node: s.node, Revision: s.storage.store.Revision, Policy: policy, Now: time.Now, Logger: s.log}
		s.running.Go(func() { compactor.Run(s.ctx) })
	}
}

func (s *Server) newQuota() *quota.Quota {
	bytes := s.cfg.QuotaBackendBytes
	if bytes == 0 {
		bytes = quota.DefaultBytes
	}
	return &quota.Quota{Bytes: bytes, Member: s.storage.memberID, Store: s.storage.store, Node: s.node, Logger: s.log}
}

// hashKV sums this member's revision log for another, once it has come to the revision.
func (s *Server) hashKV(ctx context.Context, revision int64) (kvcore.Hash, error) {
	if s.storage.store.Revision() < revision {
		if err := s.node.ReadIndex(ctx); err != nil {
			return kvcore.Hash{}, err
		}
	}
	return s.storage.store.HashKV(revision)
}

// validateUpkeep checks the settings of compaction and comparison.
func (c *Config) validateUpkeep() error {
	if _, err := compact.NewPolicy(c.AutoCompactionMode, c.AutoCompactionRetention, time.Time{}); err != nil {
		return fmt.Errorf("%w: --auto-compaction-mode and --auto-compaction-retention: %w", ErrConfig, err)
	}
	switch {
	case c.CompactionBatchLimit < 1:
		return fmt.Errorf("%w: --compaction-batch-limit is %d: give at least 1 record", ErrConfig, c.CompactionBatchLimit)
	case c.CorruptCheckTime < 0:
		return fmt.Errorf("%w: --corrupt-check-time is %s: give the time between checks, or 0 for none", ErrConfig, c.CorruptCheckTime)
	case c.CompactHashCheckTime < 0:
		return fmt.Errorf("%w: --compact-hash-check-time is %s: give the time between checks, or 0 for none", ErrConfig, c.CompactHashCheckTime)
	}
	return nil
}

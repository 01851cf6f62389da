package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/coordd/coordd/recipes"
	"github.com/coordd/coordd/recipes/fence"
)

// restoreTrial takes a backup, then locks, then restores the backup and locks again. It
// counts the tokens that are not above those from before, although they were granted
// later. Without the epoch, the store is made to forget that it was restored.
func restoreTrial(ctx context.Context, p programs, dir string, epoch bool, lanes int) (found outcome, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return found, err
	}
	s, err := newStage(ctx, p, dir, 1)
	if err != nil {
		return found, err
	}
	defer s.close()
	if err := s.coordctl(ctx, "--endpoints", s.store.Members[0].ClientURL, "snapshot", "save", s.in("backup")); err != nil {
		return found, err
	}
	before, _, err := s.lockAndWrite(ctx, lanes, 3)
	if err != nil {
		return found, err
	}
	if err := s.restore(ctx, epoch); err != nil {
		return found, err
	}
	after, refused, err := s.lockAndWrite(ctx, lanes, 1)
	if err != nil {
		return found, err
	}
	for i := range before {
		found.trials++
		old, errOld := fence.Parse(before[i].Token)
		young, errYoung := fence.Parse(after[i].Token)
		if err := errors.Join(errOld, errYoung); err != nil {
			return found, err
		}
		if young.Fields().Epoch == old.Fields().Epoch && young.Revision() <= old.Revision() {
			found.violations++
		}
	}
	found.note = fmt.Sprintf("%d legitimate holders refused", refused)
	if epoch {
		found.violations = max(found.violations, refused)
	}
	return found, nil
}

// lockAndWrite has a worker that is then killed lock so many times and write once. It
// returns the last tokens, and how many of the writes were refused.
func (s *stage) lockAndWrite(ctx context.Context, lanes, rounds int) (locked []result, refused int, err error) {
	p, err := s.newPlayer(ctx, command{
		Lanes: lanes, Sessions: fewSessions, Policy: marked, Name: "restored", Kind: mutex, TTLSeconds: steadyTTLSeconds,
	})
	if err != nil {
		return nil, 0, err
	}
	defer p.end()
	script := steps{ctx: ctx}
	for range rounds {
		locked = script.do(p, command{Do: "lock"})
		script.do(p, command{Do: "read", Advance: true})
		refused = 0
		for _, written := range script.do(p, command{Do: "write"}) {
			if written.Refused {
				refused++
			}
		}
		script.do(p, command{Do: "unlock"})
	}
	return locked, refused, script.err
}

// restore ends the only member and starts it again with the backup.
func (s *stage) restore(ctx context.Context, epoch bool) error {
	m := s.store.Members[0]
	m.Kill()
	if err := os.Rename(m.DataDir, filepath.Join(s.dir, "before")); err != nil {
		return err
	}
	err := s.coordctl(ctx, "snapshot", "restore", s.in("backup"), "--data-dir", m.DataDir, "--name", m.Name,
		"--initial-advertise-peer-urls", m.PeerURL, "--initial-cluster", m.Name+"="+m.PeerURL, "--initial-cluster-token", "e2e")
	if err == nil {
		err = m.Start()
	}
	if err == nil {
		err = m.AwaitReady(ctx)
	}
	if err != nil || epoch {
		return err
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{m.ClientURL}, Logger: zap.NewNop(), DialTimeout: 10 * time.Second})
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = client.Delete(ctx, recipes.EpochKey)
	return err
}

func (s *stage) coordctl(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, s.ctl, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("coordctl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

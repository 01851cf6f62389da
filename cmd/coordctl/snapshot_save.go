package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/coordd/coordd/coordd/disk"
	"github.com/coordd/coordd/coordd/restore"
	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newSnapshotSaveCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "save <filename>",
		Short: "Save a member's state to a file",
		Long: `Save a member's state to a file. --endpoints must name one member, whose state it is; everything that was
acknowledged by it before is in. The file gets its name once it is whole, on the disk, and its checksum is right.
There is no limit of time unless --command-timeout is given.`,
		Example: `  coordctl snapshot save /backup/coordd.db
  coordctl --endpoints 10.0.0.1:2379 snapshot save /backup/coordd_$(date +%Y%m%d_%H%M%S).db`,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := oneFile(cmd, args)
			if err != nil {
				return err
			}
			version, err := s.saveSnapshot(cmd, path)
			if err != nil {
				return withCode(exitInterrupted, err)
			}
			out := fmt.Sprintf("Snapshot saved at %s\n", path)
			if version != "" {
				out += fmt.Sprintf("Server version %s\n", version)
			}
			_, err = io.WriteString(cmd.OutOrStdout(), out)
			return err
		},
	}
}

// saveSnapshot saves to path and returns the version of the store's layout, "" from servers that do not tell.
func (s *session) saveSnapshot(cmd *cobra.Command, path string) (version string, err error) {
	if len(s.endpoints) != 1 {
		return "", fmt.Errorf("a snapshot is of one member: --endpoints must name one, not %v", s.endpoints)
	}
	c, err := s.client(s.endpoints...)
	if err != nil {
		return "", err
	}
	defer c.Close() // the file is whole, or not, without it
	ctx, cancel := untilInterrupted(cmd.Context())
	defer cancel()
	if cmd.Flags().Changed("command-timeout") {
		ctx, cancel = context.WithTimeout(ctx, s.commandTimeout)
		defer cancel()
	}
	partial := path + ".part"
	file, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "", err
	}
	version, err = receiveSnapshot(ctx, c, file, newTransfer(cmd.ErrOrStderr()))
	err = errors.Join(err, file.Close())
	if err == nil {
		err = restore.CheckSum(partial)
	}
	if err == nil {
		err = os.Rename(partial, path)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(partial))
	}
	return version, disk.OS().SyncDir(filepath.Dir(path))
}

// receiveSnapshot writes a snapshot to file, durably. The stream is read below the client's Snapshot, which does not
// say how much is to come.
func receiveSnapshot(ctx context.Context, c *clientv3.Client, file *os.File, bar *transfer) (version string, err error) {
	stream, err := pb.NewMaintenanceClient(c.ActiveConnection()).Snapshot(ctx, &pb.SnapshotRequest{})
	if err != nil {
		return "", clientv3.ContextError(ctx, err)
	}
	defer bar.end()
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return version, file.Sync()
		}
		if err != nil {
			return "", clientv3.ContextError(ctx, err)
		}
		if version == "" {
			version = chunk.GetVersion()
		}
		if _, err := file.Write(chunk.GetBlob()); err != nil {
			return "", err
		}
		bar.add(int64(len(chunk.GetBlob())), int64(chunk.GetRemainingBytes()))
	}
}

// transfer is a line on a terminal that says how far a transfer has come; nothing elsewhere.
type transfer struct {
	out     io.Writer // nil where there is no terminal
	done    int64     // bytes
	percent int64
}

func newTransfer(out io.Writer) *transfer {
	p := &transfer{percent: -1}
	if file, ok := out.(*os.File); ok && isTerminal(file) {
		p.out = out
	}
	return p
}

func (p *transfer) add(n, remaining int64) {
	p.done += n
	total := p.done + max(remaining, 0)
	if percent := 100 * p.done / max(total, 1); p.out != nil && percent != p.percent {
		p.percent = percent
		fmt.Fprintf(p.out, "\r%s of %s, %d %%", humanBytes(p.done), humanBytes(total), percent)
	}
}

func (p *transfer) end() {
	if p.out != nil && p.done > 0 {
		fmt.Fprintln(p.out)
	}
}

package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"

	"github.com/coordd/coordd/coordd/datadir"
	"github.com/coordd/coordd/coordd/wal"
	"github.com/spf13/cobra"
	"go.etcd.io/raft/v3/raftpb"
)

func newDebugWALCommand(s *session) *cobra.Command {
	var (
		dir      directory
		from, to uint64
		full     bool
	)
	cmd := &cobra.Command{
		Annotations: map[string]string{offline: "yes"},
		Use:         "wal",
		Short:       "Show the log and find damage in it",
		Long: `Show what stands in the log, in the order it was written: entries with the commands in them, the votes and
commit indexes saved between, and where the log restarted after a store received from the leader. An index that comes
again was proposed by a leader that lost it; what comes later counts. Damage is named by file and offset, with what it
means, and ends the command with exit code 1.`,
		Example: `  coordctl debug wal --data-dir /var/lib/coordd | less
  coordctl debug wal --from 1000 --to 1010 --full
  coordctl debug wal -w json | jq 'select(.type == "conf-change")'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := s.stream(cmd)
			if err != nil {
				return err
			}
			if err := noArguments(cmd, args); err != nil {
				return err
			}
			lock, err := dir.LockForReading()
			if err != nil {
				return err
			}
			defer lock.Close() // nothing was written under it
			if _, err := os.Stat(dir.Log()); err != nil {
				return fmt.Errorf("no log to show, see --data-dir and --wal-dir: %w", err)
			}
			l := &logListing{out: out, from: from, to: to, full: full}
			report, err := wal.Inspect(os.DirFS(dir.Log()), l.record)
			if err := errors.Join(l.err, l.summarize(report), out.Flush()); err != nil {
				return err
			}
			return explainDamage(report, err)
		},
	}
	dir.bind(cmd)
	fs := cmd.Flags()
	fs.StringVar(&dir.WAL, "wal-dir", "", "the log's directory, if it is not in the data directory")
	fs.Uint64Var(&from, "from", 0, "first index to show")
	fs.Uint64Var(&to, "to", math.MaxUint64, "last index to show")
	fs.BoolVar(&full, "full", false, "show all commands of an entry; otherwise the first eight")
	return cmd
}

// logRecord is a record as JSON.
type logRecord struct {
	Type     string   `json:"type"` // normal, conf-change, hard-state or snapshot
	Index    uint64   `json:"index,omitempty"`
	Term     uint64   `json:"term"`
	Vote     string   `json:"vote,omitempty"`
	Commit   uint64   `json:"commit,omitempty"`
	Size     int      `json:"size,omitempty"` // bytes of the entry's data
	Commands []string `json:"commands,omitempty"`
	Segment  string   `json:"segment"`
	Offset   int64    `json:"offset"` // of the frame that the record is in
	Frame    uint64   `json:"frame"`
}

// logListing shows records of the indexes asked for.
type logListing struct {
	out      *stream
	from, to uint64
	full     bool
	segment  string // the last one shown
	err      error  // the first that put has returned
}

func (l *logListing) record(r wal.Record) {
	shown := logRecord{Segment: r.Segment, Offset: r.Offset, Frame: r.Frame}
	text := ""
	switch {
	case r.Entry != nil:
		if i := r.Entry.GetIndex(); i < l.from || i > l.to {
			return
		}
		text = l.entry(&shown, r.Entry)
	case l.from > 0 || l.to < math.MaxUint64:
		return // has no place among the indexes asked for
	case r.HardState != nil:
		shown.Type, shown.Term, shown.Commit = "hard-state", r.HardState.GetTerm(), r.HardState.GetCommit()
		vote := "nobody"
		if v := r.HardState.GetVote(); v != 0 {
			vote, shown.Vote = hexID(v), hexID(v)
		}
		text = fmt.Sprintf("term %d, vote for %s, commit %d", shown.Term, vote, shown.Commit)
	case r.Snapshot != nil:
		shown.Type, shown.Index, shown.Term = "snapshot", r.Snapshot.Index, r.Snapshot.Term
		text = fmt.Sprintf("the log restarts behind entry %d of term %d", shown.Index, shown.Term)
	}
	if l.err != nil {
		return
	}
	if !l.out.json && l.segment != r.Segment {
		l.segment = r.Segment
		fmt.Fprintf(l.out, "segment %s\n", r.Segment)
	}
	l.err = l.out.put(shown, "  %9d  %-11s %s", r.Offset, shown.Type, text)
}

// commandsShown is how many commands of an entry are shown without --full.
const commandsShown = 8

func (l *logListing) entry(shown *logRecord, e *raftpb.Entry) string {
	shown.Type, shown.Index, shown.Term, shown.Size = "normal", e.GetIndex(), e.GetTerm(), len(e.GetData())
	if e.GetType() != raftpb.EntryNormal {
		shown.Type = "conf-change"
	}
	shown.Commands = describeEntry(e)
	if n := len(shown.Commands); n > commandsShown && !l.full {
		shown.Commands = append(shown.Commands[:commandsShown], fmt.Sprintf("… and %d more", n-commandsShown))
	}
	return fmt.Sprintf("%d of term %d, %d bytes: %s", shown.Index, shown.Term, shown.Size, strings.Join(shown.Commands, "; "))
}

// logSummary is the last line.
type logSummary struct {
	Type       string `json:"type"` // summary
	ClusterID  string `json:"clusterID,omitempty"`
	MemberID   string `json:"memberID,omitempty"`
	FirstIndex uint64 `json:"firstIndex"`
	LastIndex  uint64 `json:"lastIndex"`
	LastTerm   uint64 `json:"lastTerm"`
	Term       uint64 `json:"term"`
	Commit     uint64 `json:"commit"`
	Segments   int    `json:"segments"`
	TornBytes  int64  `json:"tornBytes"`
}

func (l *logListing) summarize(r *wal.Inspection) error {
	if len(r.Segments) == 0 {
		return nil
	}
	sum := logSummary{
		Type: "summary", FirstIndex: r.Snapshot.Index + 1, LastIndex: r.Last.Index, LastTerm: r.Last.Term,
		Term: r.HardState.GetTerm(), Commit: r.HardState.GetCommit(), Segments: len(r.Segments), TornBytes: r.TornBytes,
	}
	owner := "whose metadata are not coordd's"
	if id, err := datadir.DecodeIdentity(r.Metadata); err == nil {
		sum.ClusterID, sum.MemberID = hexID(id.Cluster), hexID(id.Member)
		owner = fmt.Sprintf("of member %s in cluster %s", sum.MemberID, sum.ClusterID)
	}
	holds := fmt.Sprintf("no entry behind %d", r.Snapshot.Index)
	if r.Last.Index > r.Snapshot.Index {
		holds = fmt.Sprintf("entries %d to %d", sum.FirstIndex, sum.LastIndex)
	}
	if err := l.out.put(sum, "log %s: %s in %d segments; term %d, commit %d", owner, holds, sum.Segments, sum.Term, sum.Commit); err != nil {
		return err
	}
	if r.TornBytes > 0 && !l.out.json {
		return l.out.put(nil, "torn: %d bytes behind offset %d of %s are of a write that was interrupted and never acknowledged; coordd cuts them off when it starts",
			r.TornBytes, r.Segments[len(r.Segments)-1].End, r.Segments[len(r.Segments)-1].Name)
	}
	return nil
}

// explainDamage says what damage means for the member.
func explainDamage(r *wal.Inspection, err error) error {
	if !errors.Is(err, wal.ErrCorrupt) {
		return err
	}
	return fmt.Errorf("%w\nThe log is whole up to entry %d of term %d; something later was durable once and is damaged now. coordd does not start on it. While a majority of the other members has its data nothing is lost: replace this member. Otherwise restore a backup",
		err, r.Last.Index, r.Last.Term)
}

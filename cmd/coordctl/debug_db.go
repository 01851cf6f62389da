package main

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/backend"
	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// debugDB is the flags of debug db.
type debugDB struct {
	directory
	bucket string
	key    string
	rev    int64
	limit  int
	hex    bool
}

func newDebugDBCommand(s *session) *cobra.Command {
	var d debugDB
	cmd := &cobra.Command{
		Annotations: map[string]string{offline: "yes"},
		Use:         "db [FILE]",
		Short:       "Show what is in a store or backup",
		Long: `Show what is in a backup or a store, by default that of --data-dir: its place in the log and its buckets, or
with --bucket what a bucket holds. In bucket key every change of a key has a record, under its revision; --rev and
--key choose among them. Values are cut off after 64 bytes; --hex and --write-out json show them whole.`,
		Example: `  coordctl debug db backup.db
  coordctl debug db --data-dir /var/lib/coordd --bucket members
  coordctl debug db --key greeting --limit 0    # all that is left of its history
  coordctl debug db --rev 1200 --hex            # what changed at revision 1200`,
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := s.stream(cmd)
			if err != nil {
				return err
			}
			path, err := d.store(cmd, args)
			if err != nil {
				return err
			}
			bucket, err := d.chosen()
			if err != nil {
				return err
			}
			d.hex = s.hex
			b, err := openForReading(path)
			if err != nil {
				return err
			}
			defer b.Close() // it was only read
			r := b.Reader()
			defer r.Release()
			if bucket < 0 {
				err = overview(out, b, r)
			} else {
				err = d.list(out, r, backend.Bucket(bucket))
			}
			if err != nil {
				return err
			}
			return out.Flush()
		},
	}
	d.bind(cmd)
	fs := cmd.Flags()
	fs.StringVar(&d.bucket, "bucket", "", "bucket to show the content of: "+strings.Join(bucketNames(), ", "))
	fs.StringVar(&d.key, "key", "", "only records of this key, in bucket key")
	fs.Int64Var(&d.rev, "rev", 0, "only records of this revision, in bucket key; 0 means all")
	fs.IntVar(&d.limit, "limit", 100, "how many entries to show at most; 0 means all")
	return cmd
}

func bucketNames() []string {
	var names []string
	for bucket := backend.Key; bucket <= backend.MembersRemoved; bucket++ {
		names = append(names, bucket.String())
	}
	return names
}

// chosen returns the bucket to list, -1 for an overview.
func (d *debugDB) chosen() (int, error) {
	if d.bucket == "" && (d.key != "" || d.rev != 0) {
		d.bucket = backend.Key.String()
	}
	if d.bucket == "" {
		return -1, nil
	}
	for bucket, name := range bucketNames() {
		if name != d.bucket {
			continue
		}
		if backend.Bucket(bucket) != backend.Key && (d.key != "" || d.rev != 0) {
			return 0, badArguments("--key and --rev choose among the records of bucket key, not of %s", name)
		}
		return bucket, nil
	}
	return 0, badArguments("there is no bucket %q: give one of %s", d.bucket, strings.Join(bucketNames(), ", "))
}

func overview(out *stream, b backend.Backend, r backend.Reader) error {
	total, inUse := b.Size()
	index, term := r.Applied()
	err := out.put(struct {
		Size  int64  `json:"size"`
		InUse int64  `json:"inUse"`
		Index uint64 `json:"index"`
		Term  uint64 `json:"term"`
	}{total, inUse, index, term}, "file    %s, %s in use; up to entry %d of term %d", humanBytes(total), humanBytes(inUse), index, term)
	if err != nil {
		return err
	}
	for bucket := backend.Key; bucket <= backend.MembersRemoved; bucket++ {
		u := measure(r, bucket)
		if err := out.put(u, "bucket  %-16s %10d entries, %s%s", u.Bucket, u.Entries, humanBytes(u.Bytes), u.span()); err != nil {
			return err
		}
	}
	return (&debugDB{}).list(out, r, backend.Meta)
}

// bucketUse is how much a bucket holds.
type bucketUse struct {
	Bucket        string `json:"bucket"`
	Entries       int    `json:"entries"`
	Bytes         int64  `json:"bytes"` // of keys and values
	FirstRevision string `json:"firstRevision,omitempty"`
	LastRevision  string `json:"lastRevision,omitempty"`
}

func measure(r backend.Reader, bucket backend.Bucket) bucketUse {
	u := bucketUse{Bucket: bucket.String()}
	r.Ascend(bucket, nil, nil, func(k, v []byte) bool {
		u.Entries++
		u.Bytes += int64(len(k) + len(v))
		if bucket == backend.Key {
			u.LastRevision = revisionText(k)
			if u.Entries == 1 {
				u.FirstRevision = u.LastRevision
			}
		}
		return true
	})
	return u
}

func (u *bucketUse) span() string {
	if u.FirstRevision == "" {
		return ""
	}
	return fmt.Sprintf(", revisions %s to %s", u.FirstRevision, u.LastRevision)
}

// revisionText writes a key of bucket key, or the value of a mark in bucket meta, as main.sub.
func revisionText(b []byte) string {
	rev, tombstone, err := kvcore.ParseRevision(b)
	if err != nil {
		return fmt.Sprintf("%x", b)
	}
	text := fmt.Sprintf("%d.%d", rev.Main, rev.Sub)
	if tombstone {
		text += " deleted"
	}
	return text
}

// stored is one entry of a bucket.
type stored struct {
	Bucket string `json:"bucket"`
	Key    []byte `json:"key"`
	Value  []byte `json:"value"`
	Means  string `json:"means,omitempty"`
}

// list shows a bucket's entries.
func (d *debugDB) list(out *stream, r backend.Reader, bucket backend.Bucket) (err error) {
	shown := 0
	r.Ascend(bucket, nil, nil, func(k, v []byte) bool {
		if bucket == backend.Key && !d.wanted(k, v) {
			return true
		}
		if d.limit > 0 && shown == d.limit {
			err = out.put(struct {
				Limit int `json:"limit"`
			}{d.limit}, "… more than --limit %d", d.limit)
			return false
		}
		shown++
		means := explain(bucket, k, v)
		text := means
		if d.hex || text == "" {
			text = fmt.Sprintf("%s = %s", d.show(k), d.show(v))
		}
		err = out.put(stored{bucket.String(), k, v, means}, "%-7s %s", bucket, text)
		return err == nil
	})
	return err
}

func (d *debugDB) wanted(k, v []byte) bool {
	if d.rev != 0 {
		if rev, _, err := kvcore.ParseRevision(k); err == nil && rev.Main != d.rev {
			return false
		}
	}
	var kv mvccpb.KeyValue
	return d.key == "" || proto.Unmarshal(v, &kv) == nil && string(kv.Key) == d.key
}

func (d *debugDB) show(b []byte) string {
	if d.hex {
		return fmt.Sprintf("%x", b)
	}
	return shortened(b)
}

// shortened quotes the first 64 bytes of b.
func shortened(b []byte) string {
	const most = 64
	if len(b) <= most {
		return strconv.Quote(string(b))
	}
	return fmt.Sprintf("%q… (%d bytes)", b[:most], len(b))
}

// explain says what an entry means, "" where its bytes say as much.
func explain(bucket backend.Bucket, k, v []byte) string {
	switch bucket {
	case backend.Key:
		return explainRecord(k, v)
	case backend.Meta:
		return string(k) + " = " + explainMeta(string(k), v)
	case backend.Members, backend.MembersRemoved, backend.Cluster:
		return string(k) + " = " + string(v)
	case backend.Lease:
		return explainLease(v)
	case backend.Alarm:
		var m pb.AlarmMember
		if proto.Unmarshal(k, &m) == nil {
			return fmt.Sprintf("%s on member %x", m.Alarm, m.MemberID)
		}
	case backend.AuthUsers:
		var u authpb.User
		if proto.Unmarshal(v, &u) == nil {
			return fmt.Sprintf("%s with roles %s", u.Name, strings.Join(u.Roles, ","))
		}
	case backend.AuthRoles:
		var role authpb.Role
		if proto.Unmarshal(v, &role) == nil {
			return explainRole(&role)
		}
	}
	return ""
}

func explainRecord(k, v []byte) string {
	var kv mvccpb.KeyValue
	if err := proto.Unmarshal(v, &kv); err != nil {
		return fmt.Sprintf("%s: no record: %v", revisionText(k), err)
	}
	text := fmt.Sprintf("%s %s", revisionText(k), shortened(kv.Key))
	if _, tombstone, err := kvcore.ParseRevision(k); err == nil && tombstone {
		return text
	}
	text += fmt.Sprintf(" = %s, created at %d, version %d", shortened(kv.Value), kv.CreateRevision, kv.Version)
	if kv.Lease != 0 {
		text += fmt.Sprintf(", lease %016x", kv.Lease)
	}
	return text
}

func explainMeta(key string, v []byte) string {
	switch {
	case strings.HasSuffix(key, "CompactRev"):
		return revisionText(v)
	case len(v) == 8 && (key == "consistent_index" || key == "term"):
		return strconv.FormatUint(binary.BigEndian.Uint64(v), 10)
	}
	return string(v)
}

// explainLease reads etcd's leasepb.Lease: fields 1 and 2 are its id and time to live.
func explainLease(v []byte) string {
	var numbers [4]uint64
	for b := v; len(b) > 0; {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 || kind != protowire.VarintType {
			return ""
		}
		number, m := protowire.ConsumeVarint(b[n:])
		if m < 0 {
			return ""
		}
		if field < 4 {
			numbers[field] = number
		}
		b = b[n+m:]
	}
	text := fmt.Sprintf("lease %016x, %d s", numbers[1], numbers[2])
	if numbers[3] != 0 {
		text += fmt.Sprintf(", %d s left at its checkpoint", numbers[3])
	}
	return text
}

func explainRole(role *authpb.Role) string {
	text := string(role.Name)
	for _, p := range role.KeyPermission {
		text += fmt.Sprintf(", %s %s", strings.ToLower(p.PermType.String()), shortened(p.Key))
		if len(p.RangeEnd) > 0 {
			text += " to " + shortened(p.RangeEnd)
		}
	}
	return text
}

package restore_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coordd/coordd/coordd/datadir"
	"github.com/coordd/coordd/coordd/disk"
	"github.com/coordd/coordd/coordd/member"
	"github.com/coordd/coordd/coordd/restore"
	"github.com/coordd/coordd/coordd/wal"
	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/proto/coordpb"
	"github.com/google/go-cmp/cmp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// backups are those of testdata; see its README.md.
var backups = []string{"etcd-3.5.35", "etcd-3.6.16", "etcd-3.7.3"}

const (
	memberURL = "http://127.0.0.1:2380"
	compacted = 30 // revision at which every backup was compacted
	newest    = 50 // revision of every backup
)

// unpack returns the path of a backup of testdata.
func unpack(t *testing.T, name string) string {
	t.Helper()
	packed, err := os.Open(filepath.Join("testdata", name+".db.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	r, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// config restores a backup as the only member of a new cluster.
func config(t *testing.T, backup string) restore.Config {
	return restore.Config{
		Name:                     "one",
		DataDir:                  filepath.Join(t.TempDir(), "data"),
		InitialAdvertisePeerURLs: []string{memberURL},
		InitialCluster:           "one=" + memberURL,
		InitialClusterToken:      "restored",
		Snapshot:                 backup,
	}
}

func mustRestore(t *testing.T, cfg restore.Config) datadir.Layout {
	t.Helper()
	if err := restore.Restore(cfg); err != nil {
		t.Fatal(err)
	}
	return datadir.Layout{Data: cfg.DataDir, WAL: cfg.WALDir}
}

// openStore opens a restored store.
func openStore(t *testing.T, path string) *kvcore.Store {
	t.Helper()
	b, err := backend.OpenBolt(path)
	if err != nil {
		t.Fatal(err)
	}
	store, err := kvcore.Open(b, kvcore.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// TestHashesAreThoseOfEtcd: at each revision that lives the restored history is
// that of the source, by the hashes that etcdutl 3.7.3 computed from it.
func TestHashesAreThoseOfEtcd(t *testing.T) {
	for _, name := range backups {
		t.Run(name, func(t *testing.T) {
			store := openStore(t, mustRestore(t, config(t, unpack(t, name))).Store())
			if store.Revision() != newest || store.CompactRevision() != compacted {
				t.Fatalf("revision %d, compacted at %d", store.Revision(), store.CompactRevision())
			}
			file, err := os.Open(filepath.Join("testdata", name+".hashes"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			lines := 0
			for s := bufio.NewScanner(file); s.Scan(); lines++ {
				var want struct {
					Hash                          uint32
					HashRevision, CompactRevision int64
				}
				if err := json.Unmarshal(s.Bytes(), &want); err != nil {
					t.Fatal(err)
				}
				got, err := store.HashKV(want.HashRevision)
				if err != nil {
					t.Fatal(err)
				}
				if got.Hash != want.Hash || got.CompactRevision != want.CompactRevision {
					t.Errorf("revision %d: hash %d, want %d", want.HashRevision, got.Hash, want.Hash)
				}
			}
			if lines != newest-compacted+1 {
				t.Errorf("compared %d revisions", lines)
			}
		})
	}
}

// TestKeysAndLeasesAreThere looks at what the script of testdata has written.
func TestKeysAndLeasesAreThere(t *testing.T) {
	for _, name := range backups {
		t.Run(name, func(t *testing.T) {
			store := openStore(t, mustRestore(t, config(t, unpack(t, name))).Store())
			if got := keys(t, store, 43); !slices.Equal(got, []string{
				"key/0=value 40", "key/1=value 31", "key/2=value 32", "key/4=again",
				"key/5=value 35", "key/6=value 36", "key/7=value 37", "key/8=value 38", "key/9=value 39",
			}) {
				t.Errorf("keys of revision 43: %q", got)
			}
			if got := keys(t, store, 0); !slices.Equal(got, []string{
				"a=1", "b=2", "bytes\xff\x01=\xfe\xfd", "key/0=value 40", "key/1=value 31", "key/2=value 32", "key/3=back", "key/4=again",
				"key/6=value 36", "key/7=value 37", "key/8=value 38", "key/9=value 39", "leased/3600=3600", "leased/86400=86400",
			}) {
				t.Errorf("keys: %q", got)
			}
			attached := map[int64][]string{}
			for _, id := range store.Leases().List() {
				l, _ := store.Leases().Lookup(id)
				attached[l.TTLSeconds] = store.Leases().Keys(id)
			}
			want := map[int64][]string{600: nil, 3600: {"leased/3600"}, 7200: nil, 86400: {"leased/86400"}}
			if diff := cmp.Diff(want, attached); diff != "" {
				t.Errorf("keys of leases by their time to live (-want +got):\n%s", diff)
			}
		})
	}
}

func keys(t *testing.T, store *kvcore.Store, rev int64) []string {
	t.Helper()
	response, err := store.Range(t.Context(), &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: rev})
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, kv := range response.Kvs {
		found = append(found, string(kv.Key)+"="+string(kv.Value))
	}
	return found
}

// TestUsersAndAlarmsStay: what stands in these buckets is untouched.
func TestUsersAndAlarmsStay(t *testing.T) {
	for _, name := range backups {
		t.Run(name, func(t *testing.T) {
			backup := unpack(t, name)
			source, restored := dump(t, backup), dump(t, mustRestore(t, config(t, backup)).Store())
			for _, bucket := range []backend.Bucket{backend.Auth, backend.AuthUsers, backend.AuthRoles, backend.Alarm, backend.Lease, backend.Key} {
				if diff := cmp.Diff(source[bucket], restored[bucket]); diff != "" {
					t.Errorf("bucket %s (-backup +restored):\n%s", bucket, diff)
				}
			}
			for bucket, want := range map[backend.Bucket]int{backend.AuthUsers: 2, backend.AuthRoles: 1, backend.Lease: 4} {
				if got := len(restored[bucket]); got != want {
					t.Errorf("%d entries in bucket %s, want %d", got, bucket, want)
				}
			}
			if got, want := len(restored[backend.Alarm]), map[bool]int{true: 1}[name == "etcd-3.5.35"]; got != want {
				t.Errorf("%d alarms, want %d", got, want)
			}
		})
	}
}

// dump returns what stands in a store.
func dump(t *testing.T, path string) map[backend.Bucket]map[string]string {
	t.Helper()
	b, err := backend.OpenBoltReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	r := b.Reader()
	defer r.Release()
	all := map[backend.Bucket]map[string]string{}
	for bucket := backend.Key; bucket <= backend.MembersRemoved; bucket++ {
		all[bucket] = map[string]string{}
		r.Ascend(bucket, nil, nil, func(k, v []byte) bool {
			all[bucket][string(k)] = string(v)
			return true
		})
	}
	return all
}

// TestClusterIsNew: the member, its peers and the place in the log are those of
// the flags, and nothing is left of the source's.
func TestClusterIsNew(t *testing.T) {
	cfg := config(t, unpack(t, "etcd-3.6.16"))
	cfg.InitialCluster += ",two=http://127.0.0.1:2382,three=http://127.0.0.1:2384"
	cfg.WALDir = filepath.Join(t.TempDir(), "log")
	layout := mustRestore(t, cfg)
	store := openStore(t, layout.Store())
	cluster, err := member.Bootstrap(member.Config{
		Name: cfg.Name, InitialAdvertisePeerURLs: cfg.InitialAdvertisePeerURLs,
		InitialCluster: cfg.InitialCluster, Token: cfg.InitialClusterToken,
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(store.Members(), cluster.Members, func(a, b *coordpb.Member) bool { return proto.Equal(a, b) }) {
		t.Errorf("members %v, want %v", store.Members(), cluster.Members)
	}
	if !proto.Equal(store.ConfState(), cluster.ConfState()) {
		t.Errorf("configuration %v, want %v", store.ConfState(), cluster.ConfState())
	}
	if index, term := store.Applied(); index != datadir.Beginning.Index || term != datadir.Beginning.Term {
		t.Errorf("applied entry %d of term %d", index, term)
	}
	log, recovered, err := wal.Open(disk.OS(), cfg.WALDir)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	id, err := datadir.DecodeIdentity(recovered.Metadata)
	if err != nil || id.Cluster != cluster.ID || id.Member != cluster.Self {
		t.Errorf("the log is of %x (%v)", id, err)
	}
	if recovered.Snapshot != datadir.Beginning || len(recovered.Entries) != 0 {
		t.Errorf("the log begins at %v with %d entries", recovered.Snapshot, len(recovered.Entries))
	}
}

func TestBumpRevision(t *testing.T) {
	cfg := config(t, unpack(t, "etcd-3.7.3"))
	cfg.BumpRevision = 1000
	store := openStore(t, mustRestore(t, cfg).Store())
	const bumped = newest + 1000
	if store.Revision() != bumped || store.CompactRevision() != bumped {
		t.Errorf("revision %d, compacted at %d, want %d", store.Revision(), store.CompactRevision(), bumped)
	}
	if _, err := store.Range(t.Context(), &pb.RangeRequest{Key: []byte("a"), Revision: bumped - 1}); !errors.Is(err, kvcore.ErrCompacted) {
		t.Errorf("a read before the bump: %v", err)
	}
	before := keys(t, store, 0)
	if len(before) != 14 {
		t.Errorf("%d keys", len(before))
	}
	hash, err := store.HashKV(0)
	if err != nil {
		t.Fatal(err)
	}
	for store.CompactStep(3) {
	}
	if _, err := store.Flush(); err != nil {
		t.Fatal(err)
	}
	if after := keys(t, store, 0); !slices.Equal(before, after) {
		t.Errorf("compaction changed %q to %q", before, after)
	}
	if again, err := store.HashKV(0); err != nil || again.Hash != hash.Hash {
		t.Errorf("compaction changed the hash: %d, %v; was %d", again.Hash, err, hash.Hash)
	}
}

// TestInspectIsWhatEtcdutlSays compares with what etcdutl 3.7.3 said of the file.
func TestInspectIsWhatEtcdutlSays(t *testing.T) {
	for _, name := range backups {
		t.Run(name, func(t *testing.T) {
			said, err := os.ReadFile(filepath.Join("testdata", name+".status"))
			if err != nil {
				t.Fatal(err)
			}
			var want restore.Status
			if err := json.Unmarshal(said, &want); err != nil {
				t.Fatal(err)
			}
			got, err := restore.Inspect(unpack(t, name))
			if err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// TestRefuses: what cannot be restored leaves nothing that starts.
func TestRefuses(t *testing.T) {
	whole, err := os.ReadFile(unpack(t, "etcd-3.7.3"))
	if err != nil {
		t.Fatal(err)
	}
	store := whole[:len(whole)-sha256.Size]
	for _, tc := range []struct {
		name   string
		backup []byte
		change func(*restore.Config)
		want   error
	}{
		{"a flipped byte", flipped(whole, 9000), nil, restore.ErrChecksum},
		{"a wrong checksum", flipped(whole, len(whole)-1), nil, restore.ErrChecksum},
		{"cut off", whole[:len(whole)-5000], nil, restore.ErrNoChecksum},
		{"a store without checksum", store, nil, restore.ErrNoChecksum},
		{"cut off, unchecked", store[:len(store)-8192], skipHashCheck, backend.ErrDamaged},
		{"not a store, unchecked", bytes.Repeat([]byte("text"), 4096), skipHashCheck, backend.ErrDamaged},
		{"empty", nil, nil, restore.ErrNoChecksum},
		{"empty, unchecked", nil, skipHashCheck, backend.ErrDamaged},
		{"missing", nil, func(c *restore.Config) { c.Snapshot += ".none" }, os.ErrNotExist},
		{"name not in the cluster", whole, func(c *restore.Config) { c.Name = "other" }, member.ErrMismatch},
		{"other URL than in the cluster", whole, func(c *restore.Config) { c.InitialAdvertisePeerURLs = []string{"http://127.0.0.1:1"} }, member.ErrMismatch},
		{"no cluster", whole, func(c *restore.Config) { c.InitialCluster = "" }, member.ErrInitialCluster},
		{"bump beyond the end", whole, func(c *restore.Config) { c.BumpRevision = math.MaxInt64 }, kvcore.ErrBumpTooLarge},
	} {
		t.Run(tc.name, func(t *testing.T) {
			backup := filepath.Join(t.TempDir(), "backup")
			if err := os.WriteFile(backup, tc.backup, 0o600); err != nil {
				t.Fatal(err)
			}
			cfg := config(t, backup)
			if tc.change != nil {
				tc.change(&cfg)
			}
			if err := restore.Restore(cfg); !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
			entries, err := os.ReadDir(cfg.DataDir)
			if err != nil && !errors.Is(err, os.ErrNotExist) || len(entries) > 0 {
				t.Errorf("left in the data directory: %v, %v", entries, err)
			}
		})
	}
}

func skipHashCheck(c *restore.Config) { c.SkipHashCheck = true }

func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

func TestStoreWithoutChecksumWhereAllowed(t *testing.T) {
	backup := unpack(t, "etcd-3.7.3")
	whole, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(backup, whole[:len(whole)-sha256.Size], 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config(t, backup)
	cfg.SkipHashCheck = true
	if store := openStore(t, mustRestore(t, cfg).Store()); store.Revision() != newest {
		t.Errorf("revision %d", store.Revision())
	}
}

func TestRefusesDirectoriesInUse(t *testing.T) {
	backup := unpack(t, "etcd-3.7.3")
	cfg := config(t, backup)
	mustRestore(t, cfg)
	if err := restore.Restore(cfg); !errors.Is(err, restore.ErrNotEmpty) {
		t.Errorf("the second restore: %v", err)
	}
	cfg = config(t, backup)
	cfg.WALDir = t.TempDir()
	if err := os.WriteFile(filepath.Join(cfg.WALDir, "something"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := restore.Restore(cfg); !errors.Is(err, restore.ErrNotEmpty) || !strings.Contains(err.Error(), "something") {
		t.Errorf("a log's directory with something in it: %v", err)
	}
}

// TestGoesOnAfterInterruption: what a crash has left is no hindrance, but what
// another restore is at work on is.
func TestGoesOnAfterInterruption(t *testing.T) {
	cfg := config(t, unpack(t, "etcd-3.7.3"))
	layout := datadir.Layout{Data: cfg.DataDir}
	half := datadir.StoreIn(layout.Restoring())
	if err := os.MkdirAll(filepath.Dir(half), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(half, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	lock, err := disk.OS().Lock(datadir.LockIn(layout.Restoring()))
	if err != nil {
		t.Fatal(err)
	}
	if err := restore.Restore(cfg); !errors.Is(err, restore.ErrRunning) {
		t.Errorf("beside another restore: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	mustRestore(t, cfg)
	if _, err := os.Stat(layout.Restoring()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory under construction is still there: %v", err)
	}
}

// TestInspectSurvivesDamage: whatever byte is wrong or wherever the file ends,
// there is an answer or an error.
func TestInspectSurvivesDamage(t *testing.T) {
	path := unpack(t, "etcd-3.5.35")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	store := whole[:len(whole)-sha256.Size]
	damaged := 0
	for at := 0; at < len(store); at += 41 {
		for _, data := range [][]byte{flipped(store, at), store[:at/512*512]} {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := restore.Inspect(path); err != nil {
				damaged++
			}
		}
	}
	if damaged == 0 {
		t.Error("no damage was found")
	}
}

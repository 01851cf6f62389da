package coordd

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/backend"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

func TestUpkeepSettings(t *testing.T) {
	for names, change := range map[string]func(*Config){
		"":                                 func(c *Config) { c.AutoCompactionMode, c.AutoCompactionRetention = "revision", "1000" },
		"--auto-compaction-retention":      func(c *Config) { c.AutoCompactionRetention = "soon" },
		"--auto-compaction-mode":           func(c *Config) { c.AutoCompactionMode = "hourly" },
		"--compaction-batch-limit":         func(c *Config) { c.CompactionBatchLimit = 0 },
		"--corrupt-check-time is -1s":      func(c *Config) { c.CorruptCheckTime = -time.Second },
		"--compact-hash-check-time is -1s": func(c *Config) { c.CompactHashCheckTime = -time.Second },
	} {
		cfg := Defaults()
		change(&cfg)
		err := cfg.Validate()
		if names == "" && err != nil || names != "" && (!errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), names)) {
			t.Errorf("%s: %v", names, err)
		}
	}
}

// TestDefragmentationGivesWay: whoever replaces the store's file waits for the end
// of a defragmentation and lets none begin.
func TestDefragmentationGivesWay(t *testing.T) {
	var d defragmenter
	ended := make(chan error, 1)
	if !d.begin(func(cause error) {
		ended <- cause
		d.end()
	}) {
		t.Fatal("the first one does not begin")
	}
	if d.begin(nil) {
		t.Error("a second one begins")
	}
	resume := d.hold()
	if cause := <-ended; !errors.Is(cause, errOvertaken) {
		t.Errorf("ended with %v", cause)
	}
	if d.begin(nil) {
		t.Error("one begins while the file is replaced")
	}
	resume()
	if !d.begin(nil) {
		t.Error("none begins after that")
	}
}

// TestDamagedStoreIsNotSent: a store in doubt takes no sound one's place.
func TestDamagedStoreIsNotSent(t *testing.T) {
	store, err := kvcore.Open(backend.NewMemory(), kvcore.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	s := &Server{storage: &storage{store: store, memberID: 7}}
	for i, step := range []struct {
		member uint64
		action pb.AlarmRequest_AlarmAction
		want   error
	}{
		{8, pb.AlarmRequest_ACTIVATE, nil},
		{7, pb.AlarmRequest_ACTIVATE, errDamaged},
		{7, pb.AlarmRequest_DEACTIVATE, nil},
		{0, pb.AlarmRequest_ACTIVATE, errDamaged},
	} {
		alarm := &pb.AlarmRequest{Action: step.action, MemberID: step.member, Alarm: pb.AlarmType_CORRUPT}
		if r := store.Apply(uint64(i+1), 1, []proto.Message{alarm}); r[0].Err != nil {
			t.Fatal(r[0].Err)
		}
		snapshot, err := s.openSnapshot()
		if !errors.Is(err, step.want) {
			t.Errorf("after %v: %v, want %v", alarm, err, step.want)
		}
		if err == nil {
			snapshot.Close()
		}
	}
}

package coordd

import (
	"errors"
	"strings"
	"testing"
	"time"
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

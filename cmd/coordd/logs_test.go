package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLogsGoWhereTheyAreWanted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	var stderr bytes.Buffer
	l, err := (&logFlags{level: "warn", format: "console", outputs: list{"default", file, "stderr", file}}).open(&stderr)
	if err != nil {
		t.Fatal(err)
	}
	l.Info("too low")
	l.Warn("high enough", "key", 1)
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(file)
	if err != nil || string(written) != stderr.String() || strings.Count(stderr.String(), "\n") != 1 || !strings.Contains(stderr.String(), `msg="high enough" key=1`) {
		t.Errorf("file %q, stderr %q, %v; want the same one line", written, stderr.String(), err)
	}
}

func TestWrongLogFlagsAreRefused(t *testing.T) {
	for flag, l := range map[string]logFlags{
		"--log-level":   {level: "loud", format: "json", outputs: list{"stderr"}},
		"--log-format":  {level: "info", format: "xml", outputs: list{"stderr"}},
		"--log-outputs": {level: "info", format: "json", outputs: list{filepath.Join(t.TempDir(), "no", "file")}},
	} {
		if _, err := l.open(new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: %v", flag, err)
		}
	}
}

// TestToggle: from any level to debug and back, and each change is in the log.
func TestToggle(t *testing.T) {
	for configured, want := range map[string][]slog.Level{
		"info":  {slog.LevelDebug, slog.LevelInfo},
		"fatal": {slog.LevelDebug, slog.LevelError},
		"debug": {slog.LevelInfo, slog.LevelDebug},
	} {
		var out bytes.Buffer
		l, err := (&logFlags{level: configured, format: "json", outputs: list{"stderr"}}).open(&out)
		if err != nil {
			t.Fatal(err)
		}
		for i, level := range want {
			l.toggle()
			if l.level.Level() != level || strings.Count(out.String(), "level changes") != i+1 {
				t.Errorf("%s, switched %d times: %s; log %q", configured, i+1, l.level.Level(), out.String())
			}
		}
	}
}

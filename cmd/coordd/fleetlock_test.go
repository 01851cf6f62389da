package main

import (
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestFleetLockFlags(t *testing.T) {
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte("0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := parse(t, []string{"COORDD_FLEET_LOCK_GROUPS=workers, controllers"}, "-fleet-lock", "--fleet-lock-token-file", tokens, "--fleet-lock-user=u")
	if err != nil {
		t.Fatal(err)
	}
	f := cfg.FleetLock
	if !f.Enabled || f.User != "u" || f.TokenFile != tokens || !slices.Equal(f.Groups, []string{"workers", "controllers"}) {
		t.Errorf("read as %+v", f)
	}
	h, metrics, err := openFleetLock(f, nil, slog.New(slog.DiscardHandler))
	if err != nil || len(metrics) == 0 {
		t.Fatalf("%d metrics, %v", len(metrics), err)
	}
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, httptest.NewRequest("POST", "/v1/pre-reboot", nil)); w.Code != 401 {
		t.Errorf("without a token: %d %s", w.Code, w.Body)
	}
	f.TokenFile = "none"
	if _, _, err := openFleetLock(f, nil, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a file of tokens that is not there is taken")
	}
}

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// dataLoad is a number of keys with 512 bytes, each with a value of 512.
type dataLoad struct {
	keys    int
	clients int
}

// dataLoads are etcdctl's.
var dataLoads = map[string]dataLoad{
	"s":  {keys: 10_000, clients: 50},
	"m":  {keys: 100_000, clients: 200},
	"l":  {keys: 1_000_000, clients: 500},
	"xl": {keys: 3_000_000, clients: 1000},
}

func newCheckDatascaleCommand(s *session) *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use:   "datascale",
		Short: "Measure the memory that a member needs for a number of keys",
		Long: `Measure the memory that a member, the first of --endpoints, needs for a number of keys of 1 KiB with their
values: 10000 (s), 100000 (m), a million (l) or three (xl). It deletes what it has written.`,
		Example: `  coordctl check datascale --load m --auto-compact --auto-defrag`,
		RunE: func(cmd *cobra.Command, args []string) error {
			load, err := f.check(s, cmd, args)
			if err != nil {
				return err
			}
			return s.checkDatascale(cmd, &f, dataLoads[load])
		},
	}
	f.bind(cmd, "/etcdctl-check-datascale/")
	return cmd
}

func (s *session) checkDatascale(cmd *cobra.Command, f *checkFlags, load dataLoad) error {
	ctx, stop := untilInterrupted(cmd.Context())
	defer stop()
	clients, err := s.checkClients(ctx, f, load.clients)
	if err != nil {
		return err
	}
	defer closeAll(clients)
	before, err := s.residentMemory(ctx)
	if err != nil {
		return fmt.Errorf("memory before the check: %w", err)
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "Start data scale check for work load [%d key-value pairs, 1024 bytes per key-value, %d concurrent clients].\n", load.keys, load.clients)
	shown := newProgress(cmd.ErrOrStderr(), load.keys, "keys")
	measured := putKeys(ctx, clients, newKeys(ctx, f.prefix, load.keys), strings.Repeat("\x00", 512), func() { shown.add(1) })
	shown.finish()
	after, memoryErr := s.residentMemory(ctx)
	if err := f.clean(ctx, cmd, clients[0]); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return withCode(exitInterrupted, errors.New("interrupted"))
	case memoryErr != nil:
		return fmt.Errorf("memory after the check: %w", memoryErr)
	case len(measured.errors) > 0:
		fmt.Fprint(out, measured.failures())
		return errReported
	}
	fmt.Fprintf(out, "PASS: Approximate system memory used : %.2f MB.\n", (after-before)/(1<<20))
	return nil
}

// newKeys delivers n keys.
func newKeys(ctx context.Context, prefix string, n int) <-chan string {
	keys := make(chan string, 100)
	go func() {
		defer close(keys)
		for range n {
			select {
			case keys <- prefix + randomKey(512):
			case <-ctx.Done():
				return
			}
		}
	}()
	return keys
}

// residentMemory asks the first endpoint how many bytes of memory its process has.
func (s *session) residentMemory(ctx context.Context) (float64, error) {
	cfg, err := clientv3.NewClientConfig(&clientv3.ConfigSpec{Secure: &s.secure}, zap.NewNop())
	if err != nil {
		return 0, badArguments("TLS: %w", err)
	}
	url := s.endpoints[0]
	if !strings.Contains(url, "://") {
		url = "http://" + url
		if cfg.TLS != nil {
			url = "https://" + s.endpoints[0]
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/metrics", nil)
	if err != nil {
		return 0, badArguments("endpoint %q: %w", s.endpoints[0], err)
	}
	transport := &http.Transport{TLSClientConfig: cfg.TLS}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport, Timeout: 30 * time.Second}).Do(request)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "process_resident_memory_bytes "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("%s/metrics has no process_resident_memory_bytes", url)
}

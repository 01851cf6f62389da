package main

import (
	"context"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	counterKey   = "demo/counter"
	writePause   = 10 * time.Millisecond
	writeTimeout = time.Second
	worthTelling = 400 * time.Millisecond // a gap between acknowledgements
)

// write is a value of the counter that the store has acknowledged.
type write struct {
	n        int
	revision int64
}

// keepWriting counts up until ctx ends and returns what was acknowledged. A value
// whose write has failed may be in the store or not: it is never tried again, so
// that each value is written once at most.
func keepWriting(ctx context.Context, show *timeline, client *clientv3.Client) (acked []write) {
	last := time.Now()
	for n := 1; ctx.Err() == nil; n++ {
		attempt, cancel := context.WithTimeout(ctx, writeTimeout)
		resp, err := client.Put(attempt, counterKey, strconv.Itoa(n))
		cancel()
		if err == nil {
			acked = append(acked, write{n, resp.Header.Revision})
			if gap := time.Since(last); gap > worthTelling {
				show.line(actorWriter, "writer", "acknowledged again, after %.1fs", gap.Seconds())
			}
			last = time.Now()
		}
		select {
		case <-ctx.Done():
		case <-time.After(writePause):
		}
	}
	return acked
}

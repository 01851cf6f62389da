package startslot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/recipes"
	"github.com/coordd/coordd/recipes/coordtest"
)

// invocation differs in its first half, as random ones do.
func invocation(n int) string { return fmt.Sprintf("%016x%016x", 0xf000_0000_0000_0000+uint64(n), n) }

func config(n int) Config {
	return Config{Name: "java", Invocation: invocation(n), Limit: 2, TTLSeconds: 60, Reason: "start"}
}

func TestStartSlots(t *testing.T) {
	for name, test := range map[string]func(*testing.T, *clientv3.Client){
		"no more than the limit, in turn": testLimit,
		"repeats":                         testRepeats,
		"a crash":                         testCrash,
		"given up":                        testGivenUp,
		"no limit":                        testNoLimit,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, coordtest.Start(t).NewClient(t).Client) })
		})
	}
}

func testLimit(t *testing.T, client *clientv3.Client) {
	for n := range 2 {
		if err := Acquire(t.Context(), client, config(n)); err != nil {
			t.Fatal(err)
		}
	}
	var has atomic.Bool
	done := make(chan error)
	go func() {
		err := Acquire(t.Context(), client, config(2))
		has.Store(true)
		done <- err
	}()
	time.Sleep(30 * time.Second)
	if has.Load() {
		t.Error("three have a slot of two")
	}
	if err := Release(t.Context(), client, invocation(1)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func testRepeats(t *testing.T, client *clientv3.Client) {
	for range 3 { // the second and the third take nothing more
		if err := Acquire(t.Context(), client, config(1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := Acquire(t.Context(), client, config(2)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Release(t.Context(), client, invocation(1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := Acquire(t.Context(), client, config(3)); err != nil {
		t.Fatal(err)
	}
}

// A slot that nobody gives back lasts for its whole time to live, and ends.
func testCrash(t *testing.T, client *clientv3.Client) {
	one := config(1)
	one.Limit = 1
	if err := Acquire(t.Context(), client, one); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := Acquire(t.Context(), client, config(2)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < time.Minute || took > 2*time.Minute {
		t.Errorf("the slot of a minute lasted for %v", took)
	}
}

func testGivenUp(t *testing.T, client *clientv3.Client) {
	one := config(1)
	one.Limit = 1
	if err := Acquire(t.Context(), client, one); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := Acquire(ctx, client, config(2)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want a deadline", err)
	}
	if err := Release(t.Context(), client, one.Invocation); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := Acquire(t.Context(), client, config(3)); err != nil || time.Since(begin) > time.Second {
		t.Errorf("who has given up is still in line: %v after %v", err, time.Since(begin))
	}
}

func testNoLimit(t *testing.T, client *clientv3.Client) {
	c := config(1)
	c.Limit = 0
	if err := Acquire(t.Context(), client, c); !errors.Is(err, recipes.ErrNoLimit) {
		t.Errorf("%v, want ErrNoLimit", err)
	}
}

func TestInvocation(t *testing.T) {
	for _, bad := range []string{"", "1", strings.Repeat("x", 32), strings.Repeat("0", 32), strings.Repeat("a", 34)} {
		if id, err := lease(bad); err == nil {
			t.Errorf("%q names the lease %x", bad, id)
		}
	}
	if id, err := lease(strings.Repeat("f", 32)); err != nil || id != 0x7fffffffffffffff {
		t.Errorf("%x, %v", id, err)
	}
}

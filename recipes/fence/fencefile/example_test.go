//go:build unix && !aix && !solaris

package fencefile_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/coordd/coordd/recipes/fence"
	"github.com/coordd/coordd/recipes/fence/fencefile"
)

// A holder was paused while another took the lock over. Its late write is refused, and the file keeps what the other wrote.
func Example() {
	dir, err := os.MkdirTemp("", "fencefile")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	report := fencefile.File{Path: filepath.Join(dir, "report.txt"), Resource: "/coordd/locks/report"}
	granted := func(revision int64) fence.Token { // what recipes.Hold.Token returns
		token, err := fence.New(fence.Fields{Cluster: 1, Mode: fence.Exclusive, Resource: report.Resource, Revision: revision})
		if err != nil {
			log.Fatal(err)
		}
		return token
	}

	paused := granted(41)
	fmt.Println(report.WriteFile(ctx, paused, []byte("draft"), 0o644))

	next := granted(57)
	fmt.Println(report.Advance(ctx, next)) // before the first read
	draft, err := os.ReadFile(report.Path)
	fmt.Println(string(draft), err)

	fmt.Println(errors.Is(report.WriteFile(ctx, paused, []byte("late"), 0o644), fence.ErrStale))
	fmt.Println(report.WriteFile(ctx, next, []byte("final"), 0o644))
	final, err := os.ReadFile(report.Path)
	fmt.Println(string(final), err)
	// Output:
	// <nil>
	// <nil>
	// draft <nil>
	// true
	// <nil>
	// final <nil>
}

package fence_test

import (
	"fmt"
	"log"

	"github.com/coordd/coordd/recipes/fence"
)

// A holder was paused, lost its lock without noticing, and goes on to write. The resource refuses it.
func ExampleGuard() {
	const lock = "/coordd/locks/report" // the lock's path in the store, as in Token.Fields
	granted := func(revision int64) fence.Token {
		token, err := fence.New(fence.Fields{Cluster: 1, Mode: fence.Exclusive, Resource: lock, Revision: revision})
		if err != nil {
			log.Fatal(err)
		}
		return token
	}
	guard := fence.NewGuard(lock)
	var report string
	write := func(token fence.Token, text string) error {
		return guard.Do(token, func() error { report = text; return nil })
	}

	paused := granted(41) // recipes.Hold.Token of the first holder
	fmt.Println(write(paused, "draft"))

	next := granted(57)              // the session of the first had expired meanwhile
	fmt.Println(guard.Advance(next)) // before the first read
	draft := report

	fmt.Println(write(paused, "late"))
	fmt.Println(write(next, draft+", final"))
	fmt.Println(report)
	// Output:
	// <nil>
	// <nil>
	// fence: stale token: f1:0000000000000001:0:x:41::/coordd/locks/report:, after f1:0000000000000001:0:x:57::/coordd/locks/report: was admitted
	// <nil>
	// draft, final
}

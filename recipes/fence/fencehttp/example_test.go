package fencehttp_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/coordd/coordd/recipes/fence"
	"github.com/coordd/coordd/recipes/fence/fencehttp"
)

// A service keeps a report in memory. A holder of its lock was paused, and the service refuses what it sends then.
func Example() {
	const lock = "/coordd/locks/report"
	guard := fence.NewGuard(lock)
	var report string
	service := httptest.NewServer(fencehttp.Handler(guard, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		token, _ := fence.FromContext(r.Context())
		// The check that counts: the middleware's was made before the body arrived.
		if err := guard.Do(token, func() error { report = string(body); return nil }); err != nil {
			http.Error(w, err.Error(), fencehttp.Status(err))
		}
	})))
	defer service.Close()

	client := &http.Client{Transport: &fencehttp.Transport{}}
	put := func(revision int64, text string) {
		token, err := fence.New(fence.Fields{Cluster: 1, Mode: fence.Exclusive, Resource: lock, Revision: revision}) // or Hold.Token
		if err != nil {
			log.Fatal(err)
		}
		ctx := fence.NewContext(context.Background(), token)
		request, err := http.NewRequestWithContext(ctx, http.MethodPut, service.URL, strings.NewReader(text))
		if err != nil {
			log.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			log.Fatal(err)
		}
		response.Body.Close()
		fmt.Println(response.Status)
	}
	put(41, "draft")
	put(57, "final") // the next holder
	put(41, "late")  // the first one goes on
	fmt.Println(report)
	// Output:
	// 200 OK
	// 200 OK
	// 412 Precondition Failed
	// final
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/record"
	"github.com/gitops-kit/sdk/testserver/serve"
)

func ExampleRun() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	srv, err := serve.Run(ctx, hello, serve.Options{TLS: true, Faults: []fault.Plan{{Nth: 2, Status: 503}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Stop()
	c := srv.Client() // trusts the server
	defer c.CloseIdleConnections()
	for range 2 {
		resp, err := c.Get(srv.URL() + "/x")
		if err != nil {
			fmt.Println(err)
			return
		}
		_ = resp.Body.Close()
		fmt.Println(resp.Status)
	}
	fmt.Println(srv.Count(record.Match{Path: "/x", Status: 503}))
	// Output:
	// 200 OK
	// 503 Service Unavailable
	// 1
}

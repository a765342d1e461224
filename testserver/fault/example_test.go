// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fault_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"syscall"

	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/serve"
)

func ExampleRunProxy() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	origin, err := serve.Run(ctx, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }), serve.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer origin.Stop()
	p, err := fault.RunProxy(ctx, fault.ProxyOptions{Upstream: origin.URL(), Plans: []fault.Plan{{Every: 2, Status: 429}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Stop()
	for range 4 {
		resp, err := http.Get(p.URL())
		if err != nil {
			fmt.Println(err)
			return
		}
		_ = resp.Body.Close()
		fmt.Println(resp.StatusCode)
	}
	http.DefaultClient.CloseIdleConnections()
	// Output:
	// 200
	// 429
	// 200
	// 429
}

func ExampleFS() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	root, err := os.OpenRoot(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer root.Close()
	f, err := fault.NewFS(root)
	if err != nil {
		fmt.Println(err)
		return
	}
	f.Fail(2, syscall.ENOSPC) // the write
	fmt.Println(f.WriteFile("a", []byte("content"), 0o600))
	for _, op := range f.Ops() {
		fmt.Println(op.Kind, op.Name)
	}
	// Output:
	// write a: no space left on device
	// create a
	// !write a
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/gitops-kit/sdk/runtime/web"
)

func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	s := web.New(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {}), web.Options{Limits: web.Limits{Body: 3}})
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	resp, err := http.Post("http://"+l.Addr().String(), "text/plain", strings.NewReader("four"))
	if err == nil {
		fmt.Println(resp.StatusCode)
		_ = resp.Body.Close()
	}
	cancel()
	fmt.Println(<-done)
	// Output:
	// 413
	// <nil>
}

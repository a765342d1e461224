// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ociserver_test

import (
	"context"
	"fmt"

	"github.com/gitops-kit/sdk/testserver/ociserver"
)

func ExampleServer_Push() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	reg, err := ociserver.Run(ctx, ociserver.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer reg.Stop()
	d := reg.Push("org/app", "v1.0.0", ociserver.Artifact{
		ArtifactType: "application/vnd.example",
		Layers:       []ociserver.Layer{{MediaType: "text/plain", Content: []byte("hello")}},
	})
	c := reg.Client()
	defer c.CloseIdleConnections()
	resp, err := c.Head(reg.URL() + "/v2/org/app/manifests/v1.0.0")
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = resp.Body.Close()
	fmt.Println(resp.Status, resp.Header.Get("Docker-Content-Digest") == d.Digest)
	// Output: 200 OK true
}

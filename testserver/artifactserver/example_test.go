// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package artifactserver_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/gitops-kit/sdk/testserver/artifactserver"
)

func ExampleRun() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	srv, err := artifactserver.Run(ctx, artifactserver.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Stop()
	a := srv.Publish("GitRepository", "default", "app", "main@sha1:0a1b2c", artifactserver.Files{"deploy.yaml": "kind: Deployment\n"})
	fmt.Println(a.Path, strings.HasPrefix(a.Digest, "sha256:"))

	c := srv.Client()
	defer c.CloseIdleConnections()
	resp, err := c.Get(a.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status, resp.ContentLength == a.Size, srv.Count(artifactserver.Match{Route: "artifact"}))
	// Output:
	// gitrepository/default/app/0a1b2c.tar.gz true
	// 200 OK true 1
}

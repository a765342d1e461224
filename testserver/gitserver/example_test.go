// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver_test

import (
	"context"
	"fmt"

	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/gitserver"
)

func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	srv, err := gitserver.Run(ctx, gitserver.Options{}) // in a test: gitserver.Start(t, …)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Stop()

	repo := srv.Repo("org/app")
	id := repo.Commit("main", gitserver.Files{"deploy.yaml": "kind: Deployment\n"}, gitserver.CommitOptions{})
	repo.AnnotatedTag("v1.0.0", "main", gitserver.TagOptions{})
	fmt.Println(repo.Head("main") == id, len(repo.Refs()), id[:8])

	// The second listing is cut after twenty bytes.
	srv.SetFaults(fault.Plan{Match: fault.Match{Route: "info-refs"}, Nth: 2, CutAfter: 20})
	c := srv.Client()
	defer c.CloseIdleConnections()
	for range 2 {
		resp, err := c.Get(repo.URL() + "/info/refs?service=git-upload-pack")
		if err != nil {
			fmt.Println(err)
			return
		}
		_ = resp.Body.Close()
	}
	for _, r := range srv.Log() {
		fmt.Printf("%s %d %q\n", r.Route, r.Status, r.Fault)
	}
	// Output:
	// true 2 54af7de9
	// info-refs 200 ""
	// info-refs 200 "cut=20"
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/gitserver"
)

// Example resolves a tag range to a commit and checks that commit out.
func Example() {
	ctx := context.Background()
	srv, err := gitserver.Run(ctx, gitserver.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Stop()
	repo := srv.Repo("org/app")
	repo.Commit("main", gitserver.Files{"deploy/app.yaml": "replicas: 3\n"}, gitserver.CommitOptions{})
	repo.Tag("v1.4.2", "main")

	c, err := git.New(repo.URL(), git.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = c.Close() }()
	r, err := c.Resolve(ctx, git.Reference{SemVer: "1.x"}, git.ResolveOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	dir, _ := os.MkdirTemp("", "example-*")
	defer func() { _ = os.RemoveAll(dir) }()
	if _, err := c.Checkout(ctx, r, filepath.Join(dir, "tree"), git.CheckoutOptions{}); err != nil {
		fmt.Println(err)
		return
	}
	b, _ := os.ReadFile(filepath.Join(dir, "tree", "deploy", "app.yaml"))
	fmt.Printf("%s: %s", r.Revision.Pointer, b)
	// Output: v1.4.2: replicas: 3
}

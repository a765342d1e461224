// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package libgit2_test

import (
	"fmt"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/git/libgit2"
)

// Example makes a client whose clones keep their objects in libgit2.
func Example() {
	d := libgit2.New(libgit2.Options{})
	c, err := git.New("https://git.example.com/org/app.git", git.Options{Driver: d})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = c.Close() }()
	fmt.Println(d.Name(), d.Formats())
	// Output: libgit2 [sha1]
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packstore_test

import (
	"context"
	"fmt"
	"os"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/packstore"
)

// Example stores a blob under its SHA-256 id and reads it back.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example-*")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s, err := packstore.New(packstore.Options{}).Open(ctx, dir, driver.OpenOptions{Format: driver.SHA256})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = s.Close() }()
	id, err := s.Put(ctx, driver.Blob, []byte("hello\n"))
	if err != nil {
		fmt.Println(err)
		return
	}
	t, body, err := s.Get(ctx, id)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s %s: %s", t, id, body)
	// Output: blob 2cf8d83d9ee29543b34a87727421fdecb7e3f3a183d337639025de576db9ebb4: hello
}

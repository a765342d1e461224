// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gogit_test

import (
	"context"
	"fmt"
	"os"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/gogit"
)

// Example stores a blob with go-git's object storage and reads it back.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example-*")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s, err := gogit.New(gogit.Options{}).Open(ctx, dir, driver.OpenOptions{Format: driver.SHA1})
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
	// Output: blob ce013625030ba8dba906f756967f9e9ca394464a: hello
}

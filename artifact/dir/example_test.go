// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package dir_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/dir"
)

func ExampleNew() {
	base, _ := os.MkdirTemp("", "")
	defer os.RemoveAll(base)
	d, err := dir.New(base, dir.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	_, err = dir.New(base, dir.Options{})
	fmt.Println(errors.Is(err, artifact.ErrLocked))

	k := artifact.Key{Kind: "Bucket", Namespace: "default", Name: "app", File: "v1.tar.gz"}
	_, _ = d.Put(context.Background(), k, strings.NewReader("content"))
	_ = d.Link(context.Background(), k, "latest.tar.gz")
	k.File = "latest.tar.gz"
	r, st, _ := d.Get(context.Background(), k)
	defer r.Close()
	b, _ := io.ReadAll(r)
	fmt.Println(st.Key.File, string(b))
	// Output:
	// true
	// v1.tar.gz content
}

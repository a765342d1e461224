// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package acl_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/acl"
)

func Example() {
	labels := func(context.Context, string) (map[string]string, error) { return map[string]string{"team": "a"}, nil }
	c := acl.New(labels, acl.Options{EnableSourceACL: true})
	ref := meta.NamespacedObjectKindReference{Kind: "GitRepository", Namespace: "infra", Name: "base"}
	err := c.Check(context.Background(), "apps", ref, nil)
	fmt.Println(errors.Is(err, acl.ErrDenied), err)
	// Output: true can't access 'GitRepository/infra/base', access denied or object not found
}

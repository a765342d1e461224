// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package secrets_test

import (
	"context"
	"fmt"

	"github.com/gitops-kit/sdk/runtime/secrets"
	corev1 "k8s.io/api/core/v1"
)

func Example() {
	source := func(_ context.Context, namespace, name string) (*corev1.Secret, error) {
		return secrets.MakeBasic(secrets.Ref{Namespace: namespace, Name: name}, "bob", secrets.NewSecret("hunter2")), nil
	}
	r := secrets.NewReader(secrets.Options{Source: source, Namespace: "apps"})
	m, err := r.Get(context.Background(), secrets.Ref{Name: "login"}, secrets.Basic|secrets.TLS)
	fmt.Println(m.Basic.Username, m.Basic.Password, len(m.Basic.Password.Reveal()), err)
	// Output: bob *** 7 <nil>
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"fmt"

	"github.com/gitops-kit/sdk/runtime/client"
	"k8s.io/apimachinery/pkg/types"
)

func ExampleImpersonation() {
	id, err := client.Impersonation(types.NamespacedName{Namespace: "apps", Name: "deployer"})
	fmt.Println(id.UserName, id.Groups, err)
	_, err = client.Impersonation(types.NamespacedName{Namespace: "apps", Name: "a:b"})
	fmt.Println(err)
	// Output:
	// system:serviceaccount:apps:deployer [system:serviceaccounts system:serviceaccounts:apps system:authenticated] <nil>
	// client target serviceAccount: name is not a DNS-1123 subdomain
}

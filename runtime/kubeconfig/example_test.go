// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeconfig_test

import (
	"fmt"

	"github.com/gitops-kit/sdk/runtime/kubeconfig"
)

func Example() {
	_, err := kubeconfig.Parse([]byte(`
current-context: c
contexts: [{name: c, context: {cluster: k, user: u}}]
clusters: [{name: k, cluster: {server: "https://example.com"}}]
users: [{name: u, user: {token: t, tokenFile: /etc/shadow}}]
`), kubeconfig.Options{})
	fmt.Println(err)
	// Output: kubeconfig field "users[0].user.tokenFile" is not supported
}

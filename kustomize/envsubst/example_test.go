// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package envsubst_test

import (
	"fmt"

	"github.com/gitops-kit/sdk/kustomize/envsubst"
)

func ExampleExpand() {
	out, err := envsubst.Expand("${greeting:-hello} ${name^} $${kept}", envsubst.Options{
		Vars: map[string]string{"name": "world"},
	})
	fmt.Println(out, err)
	_, err = envsubst.Expand("${missing}", envsubst.Options{})
	fmt.Println(err)
	// Output:
	// hello World ${kept} <nil>
	// variable not set (strict mode): "missing"
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package v1_test

import (
	"encoding/json"
	"fmt"

	sourcev1 "github.com/gitops-kit/sdk/apis/source/v1"
)

func Example() {
	var repo sourcev1.GitRepository
	err := json.Unmarshal([]byte(`{"spec":{"url":"https://example.com/a.git","interval":"5m"}}`), &repo)
	fmt.Println(repo.GetRequeueAfter(), err)
	// Output: 5m0s <nil>
}

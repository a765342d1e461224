// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package meta_test

import (
	"encoding/json"
	"fmt"

	"github.com/gitops-kit/sdk/apis/meta"
)

func Example() {
	id, err := meta.ParseObjectID("_system__node_rbac.authorization.k8s.io_ClusterRole")
	fmt.Println(id.Kind, id.Name, err)
	// Output: ClusterRole system:node <nil>
}

func ExampleDuration() {
	var spec struct {
		Interval meta.Duration `json:"interval"`
	}
	err := json.Unmarshal([]byte(`{"interval":"10 minutes"}`), &spec)
	fmt.Println(err, spec.Interval.Err())
	// Output: <nil> duration: "10 minutes" is not a duration
}

func ExampleParseRevision() {
	r, _ := meta.ParseRevision("main@sha1:0123456789abcdef0123456789abcdef01234567")
	fmt.Println(r.Pointer, r.Short(8))
	// Output: main main@sha1:01234567
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ocisign_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/gitops-kit/sdk/testserver/ociserver"
	"github.com/gitops-kit/sdk/testserver/ocisign"
)

func ExampleAuthority_Sign() {
	reg, err := ociserver.Run(context.Background(), ociserver.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer reg.Stop()
	a, err := ocisign.New()
	if err != nil {
		fmt.Println(err)
		return
	}
	app := reg.Push("org/app", "v1", ociserver.Artifact{})
	_, err = a.Sign(reg, "org/app", app, ocisign.Options{Identity: "ann@example.test", Issuer: "https://id.example.test"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for tag := range reg.Tags("org/app") {
		fmt.Println(strings.HasSuffix(tag, ".sig") || tag == "v1")
	}
	// Output:
	// true
	// true
}

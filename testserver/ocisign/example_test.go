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
	a, err := ocisign.Run()
	if err != nil {
		fmt.Println(err)
		return
	}
	app := reg.Push("org/app", "v1", ociserver.Artifact{})
	a.Sign(reg, "org/app", app, ocisign.Options{Identity: "ann@example.test", Issuer: "https://id.example.test"})
	fmt.Println(a.Err())
	for _, digest := range reg.Tags("org/app") {
		_, manifest := reg.Manifest("org/app", digest)
		if strings.Contains(string(manifest), ocisign.MediaTypeSimpleSigning) {
			fmt.Println("signed")
		}
	}
	// Output:
	// <nil>
	// signed
}

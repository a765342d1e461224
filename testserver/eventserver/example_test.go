// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package eventserver_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/gitops-kit/sdk/testserver/eventserver"
)

func ExampleServer_Wait() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	sink, err := eventserver.Run(ctx, eventserver.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sink.Stop()

	c := sink.Client()
	defer c.CloseIdleConnections()
	body := `{"involvedObject":{"kind":"GitRepository","name":"app"},"severity":"info","reason":"NewArtifact","message":"stored artifact"}`
	resp, err := c.Post(sink.URL(), "application/json", strings.NewReader(body))
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = resp.Body.Close()

	e, err := sink.Wait(ctx, func(e eventserver.Event) bool { return e.InvolvedObject.Name == "app" })
	fmt.Println(resp.StatusCode == http.StatusAccepted, e.Reason, err)
	// Output: true NewArtifact <nil>
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package events_test

import (
	"context"
	"fmt"

	"github.com/gitops-kit/sdk/runtime/events"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

type printer struct{ done context.CancelFunc }

func (p *printer) Name() string { return "printer" }
func (p *printer) Send(_ context.Context, r *events.Record) error {
	fmt.Println(r.Payload.Severity, r.Payload.InvolvedObject.Name, r.Payload.Message)
	p.done()
	return nil
}

func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	r := events.New(events.Options{Controller: "app-controller", Sinks: []events.Sink{&printer{cancel}}})
	object := &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{Name: "app"}}
	r.Emitf(object, events.Warning, "BuildFailed", "line %d", 3)
	_ = r.Start(ctx)
	// Output: error app line 3
}

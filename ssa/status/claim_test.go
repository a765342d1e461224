// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"testing"

	"github.com/gitops-kit/sdk/ssa/status"
	. "github.com/onsi/gomega"
)

// SSA-78: a claim that names no class is not one of the default class.
func TestClaimClass(t *testing.T) {
	asked := []string{}
	o := status.Options{BindingMode: func(class string) (string, bool) {
		asked = append(asked, class)
		return "WaitForFirstConsumer", true
	}}
	for spec, want := range map[string]status.Status{
		`{storageClassName: ""}`: status.InProgress, `{storageClassName: slow}`: status.Current, `{}`: status.Current, `{storageClassName: null}`: status.Current,
	} {
		got := status.Compute(parse(t, object("v1", "PersistentVolumeClaim", "spec: "+spec+"\nstatus: {phase: Pending}")), o)
		NewWithT(t).Expect(got.Status).To(Equal(want), spec)
	}
	NewWithT(t).Expect(asked).To(ConsistOf("slow", "", ""))
}

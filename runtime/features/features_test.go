// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package features_test

import (
	"errors"
	"testing"

	"github.com/gitops-kit/sdk/runtime/features"
	. "github.com/onsi/gomega"
	"github.com/spf13/pflag"
)

// RT-121, WIRE-11
func TestGates(t *testing.T) {
	g := NewWithT(t)
	var f features.Flags
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.AddFlags(fs)
	g.Expect(fs.Parse([]string{"--feature-gates=A=false,B=true", "--feature-gates", "A=true"})).To(Succeed())
	s, err := f.Set([]features.Gate{{Name: "A"}, {Name: "B"}, {Name: "C", Default: true}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Snapshot()).To(Equal(map[string]bool{"A": true, "B": true, "C": true}))
	s.Snapshot()["A"] = false
	g.Expect(s.Enabled("A")).To(BeTrue(), "a snapshot is a copy")
	g.Expect(s.Enabled("nope")).To(BeFalse())
	_, err = s.Check("nope")
	var ue *features.UnsupportedError
	g.Expect(errors.As(err, &ue)).To(BeTrue())
	_, err = f.Set([]features.Gate{{Name: "A"}})
	g.Expect(err).To(MatchError("feature-gate 'B' not supported"))
	for _, bad := range []string{"A", "=true", "A=maybe"} {
		_, err := features.Parse(bad)
		g.Expect(errors.Is(err, features.ErrSyntax)).To(BeTrue(), bad)
	}
	g.Expect(features.Common()).To(HaveLen(2))
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/gitops-kit/sdk/git/internal/pktline"
	"github.com/gitops-kit/sdk/git/internal/wire"
	. "github.com/onsi/gomega"
)

// GIT-25: a pack begins with its first byte, not with the last one of the packet
// that this is in; empty packets and text before it do not count.
func TestBegin(t *testing.T) {
	g := NewWithT(t)
	lost := errors.New("lost")
	for text, want := range map[string]error{
		"000dpackfile\nfff0\x01P":                     nil,
		"000dpackfile\n0005\x010008\x02texfff0\x01PA": nil,
		"000dpackfile\n0005\x01":                      lost,
		"000dpackfile\nfff0\x02P":                     lost,
		"000dpackfile\n0006\x01P":                     nil,
	} {
		a, err := wire.ReadV2(pktline.NewReader(io.MultiReader(strings.NewReader(text), iotest.ErrReader(lost))), wire.Limits{Sideband: 1 << 10})
		g.Expect(err).NotTo(HaveOccurred(), "%q", text)
		if err := a.Begin(); want == nil {
			g.Expect(err).NotTo(HaveOccurred(), "%q", text)
			b := make([]byte, 1)
			_, err = io.ReadFull(a.Pack, b)
			if strings.Contains(text, "0006") {
				g.Expect(string(b), err).To(Equal("P"))
			} else {
				g.Expect(errors.Is(err, lost)).To(BeTrue(), "%q: %v", text, err)
			}
		} else {
			g.Expect(err).To(HaveOccurred(), "%q", text)
		}
	}
}

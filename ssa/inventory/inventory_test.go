// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package inventory_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/ssa/inventory"
	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
)

// SSA-8, INV-2, INV-3
func TestIDs(t *testing.T) {
	cases := map[string]struct {
		reason string
		id     inventory.ID
		text   string
	}{
		"Core":       {"empty group", inventory.ID{Namespace: "default", Name: "podinfo", Group: "", Kind: "Service"}, "default_podinfo__Service"},
		"Cluster":    {"empty namespace", inventory.ID{Namespace: "", Name: "edit", Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}, "_edit_rbac.authorization.k8s.io_ClusterRole"},
		"Colon":      {"as two underscores", inventory.ID{Namespace: "", Name: "system:x:y", Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}, "_system__x__y_rbac.authorization.k8s.io_ClusterRole"},
		"Underscore": {"escaped", inventory.ID{Namespace: "ns", Name: "a_b", Group: "g", Kind: "K"}, "ns_a%5Fb_g_K"},
		"Two":        {"escaped", inventory.ID{Namespace: "ns", Name: "a__b", Group: "g", Kind: "K"}, "ns_a%5F%5Fb_g_K"},
		"Mixed":      {"both", inventory.ID{Namespace: "ns", Name: "a_:_b", Group: "", Kind: "K"}, "ns_a%5F__%5Fb__K"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(tc.id.String()).To(Equal(tc.text), tc.reason)
			back, err := inventory.Parse(tc.text)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(back).To(Equal(tc.id), tc.reason)
		})
	}
	g := NewWithT(t)
	established, err := inventory.Parse("ns_a_b_apps_Deployment") // a single underscore stays
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(established).To(Equal(inventory.ID{Namespace: "ns", Name: "a_b", Group: "apps", Kind: "Deployment"}))
	for _, bad := range []string{"", "a", "a_b", "a_b_c", "a_b_c_", "a__c_K", "a b_c_d_E"} {
		_, err := inventory.Parse(bad)
		var ie *inventory.IDError
		g.Expect(errors.As(err, &ie)).To(BeTrue(), bad)
		g.Expect(ie.Reason()).To(Equal("InventoryFailed"))
		g.Expect(ie.Terminal()).To(BeTrue())
	}
	g.Expect(inventory.ID{Namespace: "n", Name: "a", Kind: "K"}.Display()).To(Equal("K/n/a"))
	g.Expect(inventory.ID{Name: "a", Kind: "K"}.Display()).To(Equal("K/a"))
	letters := "ab:_-."
	r := rand.New(rand.NewPCG(1, 1))
	for range 100_000 {
		var b strings.Builder
		for range r.IntN(8) + 1 {
			b.WriteByte(letters[r.IntN(len(letters))])
		}
		id := inventory.ID{Namespace: "n", Name: b.String(), Group: "g", Kind: "K"}
		if back, err := inventory.Parse(id.String()); err != nil || back != id {
			t.Fatalf("%+v is written %q and read %+v, %v", id, id, back, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"default_podinfo__Service", "_a:b_g_K", "a_b%5Fc_d_E", "____", "%5F_%5F_%5F_%5F"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := inventory.Parse(s)
		if err != nil {
			return
		}
		if again, err := inventory.Parse(id.String()); err != nil || again != id {
			t.Fatalf("%q: %+v then %+v, %v", s, id, again, err)
		}
	})
}

func numbered(n, from int) inventory.Set {
	var s inventory.Set
	for i := range n {
		s.Add(inventory.Item{ID: inventory.ID{Namespace: "ns", Name: fmt.Sprint("o", i+from), Kind: "ConfigMap"}, Version: "v1"})
	}
	return s
}

// SSA-92
func TestSet(t *testing.T) {
	g := NewWithT(t)
	a, b := numbered(3, 0), numbered(3, 2)
	g.Expect(a.Union(b).Len()).To(Equal(5))
	g.Expect(a.Minus(b).Len()).To(Equal(2))
	g.Expect(a.Len()).To(Equal(3), "inputs are not changed")
	g.Expect(a.Union(b).ContainsAll(b)).To(BeTrue())
	g.Expect(a.ContainsAll(b)).To(BeFalse())
	var s inventory.Set
	s.AddEntry("nonsense", "v1")
	s.AddEntry("ns_a__ConfigMap", "v1")
	g.Expect(s.Unparsed()).To(Equal([]string{"nonsense"}))
	got := maps.Collect(s.Entries())
	g.Expect(got).To(Equal(map[string]string{"nonsense": "v1", "ns_a__ConfigMap": "v1"}))
	g.Expect(inventory.Set{}.Contains(inventory.ID{})).To(BeFalse())
}

// SSA-94
func TestCodec(t *testing.T) {
	g := NewWithT(t)
	set := numbered(50_000, 0)
	set.AddEntry("verbatim text", "v1")
	enc, err := inventory.Encode(set)
	g.Expect(err).NotTo(HaveOccurred())
	again, err := inventory.Encode(set)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cmp.Diff(enc, again)).To(BeEmpty())
	for _, c := range enc.Chunks {
		g.Expect(len(c)).To(BeNumerically("<=", inventory.MaxChunk))
	}
	back, err := inventory.Decode(enc.Chunks, enc.Digest)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(back.Equal(set)).To(BeTrue())
	random := inventory.Set{} // incompressible: several chunks
	r := rand.New(rand.NewPCG(3, 3))
	for range 40_000 {
		random.Add(inventory.Item{ID: inventory.ID{Namespace: fmt.Sprintf("%x", r.Uint64()), Name: fmt.Sprintf("%x%x%x", r.Uint64(), r.Uint64(), r.Uint64()), Kind: "K"}, Version: "v1"})
	}
	enc, err = inventory.Encode(random)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(len(enc.Chunks)).To(BeNumerically(">", 1))
	for _, c := range enc.Chunks {
		g.Expect(len(c)).To(BeNumerically("<=", inventory.MaxChunk))
	}
	back, err = inventory.Decode(enc.Chunks, enc.Digest)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(back.Equal(random)).To(BeTrue())
	flipped := slices.Clone(enc.Chunks)
	flipped[0] = slices.Clone(flipped[0])
	flipped[0][len(flipped[0])/2] ^= 1
	swapped := slices.Clone(enc.Chunks)
	slices.Reverse(swapped)
	for name, chunks := range map[string][][]byte{"lost": enc.Chunks[1:], "flipped": flipped, "swapped": swapped, "junk": {[]byte("junk")}, "none": nil} {
		s, err := inventory.Decode(chunks, enc.Digest)
		g.Expect(errors.Is(err, inventory.ErrCorrupt)).To(BeTrue(), name)
		g.Expect(s.Len()).To(BeZero())
	}
	var bad inventory.Set
	bad.AddEntry("a\nb", "v1")
	_, err = inventory.Encode(bad)
	g.Expect(errors.Is(err, inventory.ErrCorrupt)).To(BeTrue())
}

func FuzzDecode(f *testing.F) {
	enc, err := inventory.Encode(numbered(3, 0))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(enc.Chunks[0], enc.Digest)
	f.Fuzz(func(t *testing.T, chunk []byte, digest string) {
		s, err := inventory.Decode([][]byte{chunk}, digest)
		if err != nil && (!errors.Is(err, inventory.ErrCorrupt) || s.Len() != 0) {
			t.Fatalf("%d ids and %v", s.Len(), err)
		}
	})
}

// SSA-93
func TestLedger(t *testing.T) {
	g := NewWithT(t)
	saves := 0
	mem := inventory.NewMemory(numbered(3, 0))
	store := inventory.StoreFuncs{LoadFunc: mem.Load, SaveFunc: func(ctx context.Context, s inventory.Set, v string) (string, error) {
		saves++
		return mem.Save(ctx, s, v)
	}}
	l := inventory.NewLedger(store)
	g.Expect(l.Begin(t.Context(), numbered(2, 0))).To(Succeed())
	g.Expect(saves).To(BeZero(), "nothing new is intended")
	g.Expect(l.Begin(t.Context(), numbered(2, 2))).To(Succeed())
	g.Expect(saves).To(Equal(1))
	g.Expect(l.Set().Len()).To(Equal(4), "old and intended")
	g.Expect(l.Commit(t.Context(), numbered(1, 2), numbered(1, 3))).To(Succeed())
	stored, _, err := mem.Load(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(stored.Len()).To(Equal(3), "what was not pruned yet stays")
	g.Expect(l.Commit(t.Context(), inventory.Set{}, inventory.Set{})).To(Succeed())
	g.Expect(saves).To(Equal(2), "an unchanged outcome is not written")
	// Another writer.
	_, v, _ := mem.Load(t.Context())
	_, err = mem.Save(t.Context(), numbered(1, 9), v)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(errors.Is(l.Commit(t.Context(), numbered(1, 5), inventory.Set{}), inventory.ErrConflict)).To(BeTrue())
	g.Expect(l.Commit(t.Context(), numbered(1, 5), inventory.Set{})).To(Succeed())
	g.Expect(l.Set().Len()).To(Equal(2), "read again after a conflict")
}

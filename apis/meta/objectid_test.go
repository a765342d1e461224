// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package meta_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/apis/meta"
	. "github.com/onsi/gomega"
)

// INV-2, INV-3
func TestObjectID(t *testing.T) {
	cases := map[string]struct {
		reason string
		id     meta.ObjectID
		text   string
		old    string // another form that reads to the same object
	}{
		"Core":          {reason: "empty group stays empty", id: meta.ObjectID{Namespace: "default", Name: "podinfo", Kind: "Service"}, text: "default_podinfo__Service"},
		"Group":         {reason: "with group", id: meta.ObjectID{Namespace: "default", Name: "podinfo", Group: "apps", Kind: "Deployment"}, text: "default_podinfo_apps_Deployment"},
		"ClusterScoped": {reason: "empty namespace stays empty", id: meta.ObjectID{Name: "edit", Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}, text: "_edit_rbac.authorization.k8s.io_ClusterRole"},
		"ClusterCore":   {reason: "both empty", id: meta.ObjectID{Name: "apps", Kind: "Namespace"}, text: "_apps__Namespace"},
		"Colons":        {reason: "colons of RBAC names", id: meta.ObjectID{Name: "system:x:y", Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}, text: "_system__x__y_rbac.authorization.k8s.io_ClusterRole"},
		"Underscore":    {reason: "an underscore round-trips; the established form reads the same", id: meta.ObjectID{Name: "a_b", Group: "g", Kind: "K"}, text: "_a%5Fb_g_K", old: "_a_b_g_K"},
		"Double":        {reason: "two underscores", id: meta.ObjectID{Name: "a__b", Group: "g", Kind: "K"}, text: "_a%5F%5Fb_g_K"},
		"Mixed":         {reason: "colon beside underscore", id: meta.ObjectID{Name: ":_:", Kind: "K"}, text: "___%5F____K"},
		"Edges":         {reason: "colons at both ends", id: meta.ObjectID{Namespace: "n", Name: ":a:", Kind: "K"}, text: "n___a____K"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(tc.id.String()).To(Equal(tc.text), tc.reason)
			got, err := meta.ParseObjectID(tc.text)
			g.Expect(err).NotTo(HaveOccurred(), tc.reason)
			g.Expect(got).To(Equal(tc.id), tc.reason)
			if tc.old != "" {
				got, err = meta.ParseObjectID(tc.old)
				g.Expect(err).NotTo(HaveOccurred(), tc.reason)
				g.Expect(got).To(Equal(tc.id), tc.reason)
			}
		})
	}
}

// INV-3: an id that does not name an object is a typed error.
func TestObjectIDMalformed(t *testing.T) {
	for name, s := range map[string]string{
		"Empty": "", "One": "a_b", "Two": "a_b_c", "NoKind": "a_b_c_", "NoName": "a__c_K", "Space": "a_b c_d_K",
		"Control": "a_b\n_d_K", "Slash": "a_b/c_d_K", "Long": strings.Repeat("a", 1025) + "_b_c_K",
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, err := meta.ParseObjectID(s)
			var e *meta.ObjectIDError
			g.Expect(errors.As(err, &e)).To(BeTrue())
			g.Expect(e.Raw).To(Equal(s))
			g.Expect(e.Reason()).To(Equal(meta.InvalidSpecReason))
			g.Expect(got).To(BeZero())
		})
	}
}

// INV-2: every legal name round-trips.
func TestObjectIDRandomNames(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n = 10_000
	}
	const letters = "abc019-.:_"
	r := rand.New(rand.NewPCG(1, 2))
	buf := make([]byte, 0, 16)
	for range n {
		buf = buf[:0]
		for range 1 + r.IntN(12) {
			buf = append(buf, letters[r.IntN(len(letters))])
		}
		id := meta.ObjectID{Namespace: "ns", Name: string(buf), Group: "g.k8s.io", Kind: "Kind"}
		if r.IntN(2) == 0 {
			id.Namespace, id.Group = "", ""
		}
		got, err := meta.ParseObjectID(id.String())
		if err != nil || got != id {
			t.Fatalf("%+v became %+v, %v", id, got, err)
		}
	}
}

func FuzzParseObjectID(f *testing.F) {
	for _, s := range []string{"default_podinfo__Service", "_a%5Fb_g_K", "_system__x__y_rbac.authorization.k8s.io_ClusterRole", "___", "a_b_c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := meta.ParseObjectID(s)
		if err != nil {
			return
		}
		again, err := meta.ParseObjectID(id.String())
		if err != nil || again != id {
			t.Fatalf("%q: %+v became %+v, %v", s, id, again, err)
		}
	})
}

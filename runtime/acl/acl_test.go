// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package acl_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/acl"
	. "github.com/onsi/gomega"
)

// ACL-1, ACL-2, ACL-3, ACL-5, RT-100, N43
func TestCheck(t *testing.T) {
	match := &meta.AccessFrom{NamespaceSelectors: []meta.NamespaceSelector{{MatchLabels: map[string]string{"team": "a"}}}}
	all := &meta.AccessFrom{NamespaceSelectors: []meta.NamespaceSelector{{}}}
	none := &meta.AccessFrom{}
	broken := errors.New("api down")
	cases := map[string]struct {
		reason  string
		o       acl.Options
		ns      string
		list    *meta.AccessFrom
		labels  map[string]string
		err     error
		denied  bool
		blocked bool
		wrapped bool
	}{
		"Own":          {reason: "the own namespace is always allowed", o: acl.Options{NoCrossNamespaceRefs: true, EnableSourceACL: true}, ns: "apps"},
		"Empty":        {reason: "no namespace is the own one", o: acl.Options{NoCrossNamespaceRefs: true}, ns: ""},
		"Default":      {reason: "lists do not count by default", ns: "infra"},
		"Blocked":      {reason: "the flag beats the list", o: acl.Options{NoCrossNamespaceRefs: true, EnableSourceACL: true}, ns: "infra", list: all, denied: true, blocked: true},
		"Match":        {reason: "a selector matches", o: acl.Options{EnableSourceACL: true}, ns: "infra", list: match, labels: map[string]string{"team": "a"}},
		"NoMatch":      {reason: "no selector matches", o: acl.Options{EnableSourceACL: true}, ns: "infra", list: match, labels: map[string]string{"team": "b"}, denied: true},
		"MatchAll":     {reason: "{} matches every namespace", o: acl.Options{EnableSourceACL: true}, ns: "infra", list: all},
		"EmptyList":    {reason: "an empty list matches none", o: acl.Options{EnableSourceACL: true}, ns: "infra", list: none, denied: true},
		"NoList":       {reason: "no list, or no such object", o: acl.Options{EnableSourceACL: true}, ns: "infra", denied: true},
		"LookupFailed": {reason: "a failed look-up is never allowed", o: acl.Options{EnableSourceACL: true}, ns: "infra", list: all, err: broken, wrapped: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			lookups := 0
			c := acl.New(func(context.Context, string) (map[string]string, error) { lookups++; return tc.labels, tc.err }, tc.o)
			ref := meta.NamespacedObjectKindReference{Kind: "GitRepository", Namespace: tc.ns, Name: "base"}
			err := c.Check(t.Context(), "apps", ref, tc.list)
			g.Expect(lookups).To(BeNumerically("<=", 1))
			switch {
			case tc.wrapped:
				g.Expect(errors.Is(err, broken)).To(BeTrue(), tc.reason)
				g.Expect(errors.Is(err, acl.ErrDenied)).To(BeFalse(), tc.reason)
			case tc.denied:
				err = fmt.Errorf("source: %w", err)
				g.Expect(errors.Is(err, acl.ErrDenied)).To(BeTrue(), tc.reason)
				var de *acl.DeniedError
				g.Expect(errors.As(err, &de)).To(BeTrue())
				g.Expect(de.Reason()).To(Equal(meta.AccessDeniedReason))
				g.Expect(de.Terminal()).To(BeTrue())
				text := "can't access 'GitRepository/infra/base', access denied or object not found"
				if tc.blocked {
					text = "can't access 'GitRepository/infra/base', cross-namespace references have been blocked"
				}
				g.Expect(de.Error()).To(Equal(text), tc.reason)
			default:
				g.Expect(err).NotTo(HaveOccurred(), tc.reason)
			}
			g.Expect(c.Blocked("apps", ref) != nil).To(Equal(tc.blocked))
		})
	}
	g := NewWithT(t)
	var nobody *acl.Checker
	g.Expect(errors.Is(nobody.Check(t.Context(), "a", meta.NamespacedObjectKindReference{Namespace: "b"}, all), acl.ErrDenied)).To(BeTrue())
	g.Expect(errors.Is(acl.New(nil, acl.Options{}).Enforce(t.Context(), "a", meta.NamespacedObjectKindReference{Namespace: "b"}, all), acl.ErrDenied)).To(BeTrue())
}

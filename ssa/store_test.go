// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/ssa/inventory"
	"github.com/gitops-kit/sdk/ssa/ssatest"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// chunks returns the stored chunks of an owner.
func (e *env) chunks(uid string) []*unstructured.Unstructured {
	e.t.Helper()
	var out []*unstructured.Unstructured
	for u, err := range e.cluster.List(e.t.Context(), e.resource("", "v1", "Secret"), ssa.ListOptions{Namespace: e.ns, LabelSelector: "gitops-kit.github.io/owner-uid=" + uid}) {
		e.g.Expect(err).NotTo(HaveOccurred())
		if typ, _ := u.Object["type"].(string); typ == "gitops-kit.github.io/inventory.v2" {
			out = append(out, u)
		}
	}
	return out
}

func (e *env) remove(u *unstructured.Unstructured) {
	e.t.Helper()
	_, err := e.cluster.Send(e.t.Context(), ssa.Write{Verb: ssa.VerbDelete, Resource: e.resource("", "v1", u.GetKind()), Namespace: e.ns, Name: u.GetName()})
	e.g.Expect(err).NotTo(HaveOccurred())
}

// SSA-95
func TestSecretStoreConforms(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	n := 0
	uids := map[inventory.Store]string{}
	open := func(t testing.TB, uid string) inventory.Store {
		t.Helper()
		s, err := ssa.NewSecretStore(e.cluster, ssa.SecretStoreOptions{Namespace: e.ns, UID: uid, ManagedBy: "test"})
		if err != nil {
			t.Fatal(err)
		}
		uids[s] = uid
		return s
	}
	ssatest.RunStore(t, ssatest.StoreHarness{
		New:    func(t testing.TB) inventory.Store { t.Helper(); n++; return open(t, fmt.Sprintf("uid-%d", n)) },
		Reopen: func(t testing.TB, s inventory.Store) inventory.Store { t.Helper(); return open(t, uids[s]) },
		Corrupt: func(t testing.TB, s inventory.Store, way int) bool {
			t.Helper()
			chunk := e.chunks(uids[s])[0]
			switch way {
			case 0: // lost
				e.remove(chunk)
			case 1: // other bytes
				e.remove(chunk)
				other := chunk.DeepCopy()
				other.SetResourceVersion("")
				other.SetUID("")
				other.SetManagedFields(nil)
				_ = unstructured.SetNestedField(other.Object, base64.StdEncoding.EncodeToString([]byte("garbage")), "data", "entries")
				e.createAs("vandal", other)
			case 2, 3, 4: // a head that is no head, or no JSON, or nothing
				head := chunk.DeepCopy()
				head.SetName("inventory-" + uids[s] + "-head")
				data := [...]string{`"e30="`, `"Z2FyYmFnZQ=="`, `""`}[way-2]
				e.patch("vandal", head, `[{"op":"replace","path":"/data/head","value":`+data+`}]`)
			default:
				return false
			}
			return true
		},
		Crash: func(t testing.TB, s inventory.Store, n int, done bool) (inventory.Store, func() bool) {
			t.Helper()
			c := &mortal{Cluster: e.cluster, left: n, done: done}
			st, err := ssa.NewSecretStore(c, ssa.SecretStoreOptions{Namespace: e.ns, UID: uids[s], ManagedBy: "test"})
			if err != nil {
				t.Fatal(err)
			}
			return st, func() bool { return c.left < 0 }
		},
	})
}

// mortal is the cluster of a process that ends around its n-th operation.
type mortal struct {
	ssa.Cluster
	left int
	done bool
}

// do runs an operation, unless the process has ended.
func (m *mortal) do(operation func()) error {
	m.left--
	if m.left >= 0 || m.left == -1 && m.done {
		operation()
	}
	if m.left >= 0 {
		return nil
	}
	return errInjected
}

func (m *mortal) Get(ctx ctxT, r ssa.Resource, ns, name string) (u *unstructured.Unstructured, err error) {
	if dead := m.do(func() { u, err = m.Cluster.Get(ctx, r, ns, name) }); dead != nil {
		return nil, dead
	}
	return u, err
}

func (m *mortal) Send(ctx ctxT, w ssa.Write) (u *unstructured.Unstructured, err error) {
	if dead := m.do(func() { u, err = m.Cluster.Send(ctx, w) }); dead != nil {
		return nil, dead
	}
	return u, err
}

// SSA-93: when the inventory cannot be stored, nothing is written.
func TestInventoryFailureStopsTheApply(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	store := inventory.StoreFuncs{SaveFunc: func(ctxT, inventory.Set, string) (string, error) { return "", errInjected }}
	p := e.plan(e.objects(shop), ssa.PlanOptions{})
	r, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{Ledger: inventory.NewLedger(store)})
	g.Expect(errors.Is(err, ssa.ErrInventory)).To(BeTrue())
	g.Expect(errors.Is(err, errInjected)).To(BeTrue())
	g.Expect(r.Count(ssa.ActionNotAttempted)).To(Equal(4))
	g.Expect(e.rec.Writes()).To(BeZero())
}

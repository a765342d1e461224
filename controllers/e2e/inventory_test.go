// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/testserver/gitserver"
)

func many(n int, value string) map[string]string {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("c%03d.yaml", i)] = configMap(fmt.Sprintf("c%03d", i), value)
	}
	return files
}

// chunks lists the Secrets that hold an inventory.
func (w *world) chunks(o *kustomizev1.Kustomization) []corev1.Secret {
	w.t.Helper()
	var list corev1.SecretList
	w.Expect(w.List(w.ctx, &list, client.InNamespace(w.ns), client.MatchingLabels{"gitops-kit.github.io/owner-uid": string(o.UID)})).To(Succeed())
	return list.Items
}

func TestLargeInventory(t *testing.T) { // INV-5, INV-6, INV-7, INV-8, INV-9, KUS-95, KUS-A31
	t.Parallel()
	w := newWorld(t, gitserver.Options{}, "--inventory-spill-bytes=400")
	id := w.commit("Many", many(30, "1"))
	repo := w.gitRepository(nil)
	o := w.kustomization(nil)
	w.applied(o, id)
	head := o.Status.Inventory.Spill
	w.Expect(head).NotTo(BeNil())
	w.Expect(head.Format).To(Equal("v2"))
	w.Expect(head.Entries).To(Equal(int64(30)))
	w.Expect(head.Kinds).To(Equal([]string{"/v1/ConfigMap"}))
	w.Expect(len(o.Status.Inventory.Entries)).To(And(BeNumerically(">", 0), BeNumerically("<", 30)))
	stored := w.chunks(o)
	w.Expect(stored).To(HaveLen(1))
	w.Expect(string(stored[0].Type)).To(Equal("gitops-kit.github.io/inventory.v2"))
	w.Expect(*stored[0].Immutable).To(BeTrue())
	w.Expect(stored[0].OwnerReferences).To(BeEmpty())
	w.Expect(stored[0].Labels).To(HaveKeyWithValue("app.kubernetes.io/managed-by", "kustomize-controller"))

	// Prune finds what the status does not list.
	id = w.commit("Fewer", many(20, "1"))
	w.request(repo)
	w.applied(o, id)
	w.gone(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "c029"}})
	w.Expect(o.Status.Inventory.Spill.Entries).To(Equal(int64(20)))
	w.Expect(w.chunks(o)).To(HaveLen(1))

	// A lost chunk is rebuilt; nothing is pruned on the strength of it.
	stored = w.chunks(o)
	w.Expect(w.Delete(w.ctx, &stored[0])).To(Succeed())
	id = w.commit("Fewer still", many(18, "2"))
	w.request(repo)
	w.applied(o, id)
	w.awaitEvent(o, corev1.EventTypeWarning, "InventoryFailed", "nothing is pruned in this run")
	w.Expect(o.Status.Inventory.Spill.Entries).To(Equal(int64(20)))
	w.configMap("c019")
	w.request(o)
	w.gone(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "c019"}})

	// A set that fits goes back into the status.
	id = w.commit("Few", many(2, "3"))
	w.request(repo)
	w.applied(o, id)
	w.Expect(o.Status.Inventory.Spill).To(BeNil())
	w.Expect(o.Status.Inventory.Entries).To(HaveLen(2))
	w.Expect(w.chunks(o)).To(BeEmpty())

	id = w.commit("Many again", many(25, "4"))
	w.request(repo)
	w.applied(o, id)
	w.Expect(w.chunks(o)).To(HaveLen(1))
	w.Expect(w.Delete(w.ctx, o)).To(Succeed())
	w.gone(o)
	w.Expect(w.chunks(o)).To(BeEmpty())
	w.gone(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "c024"}})
}

// TestKilledWhileApplying kills the manager at random moments: what exists is
// always listed, and the next process finishes the work. GITOPS_KIT_LONG=1
// makes it ten rounds instead of two.
func TestKilledWhileApplying(t *testing.T) { // INV-4, KUS-51, KUS-A14
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	w.commit("Start", many(1, "0"))
	repo := w.gitRepository(nil)
	o := w.kustomization(nil)
	w.awaitReady(o)
	rounds := 2
	if os.Getenv("GITOPS_KIT_LONG") == "1" {
		rounds = 10
	}
	for round := range rounds {
		id := w.commit(fmt.Sprintf("Round %d", round), many(40+10*round, fmt.Sprint(round)))
		w.request(repo)
		w.Eventually(w.ctx, func() int { return w.owned(o) }).WithPolling(time.Millisecond).WithTimeout(patience).
			Should(BeNumerically(">", 5+7*round))
		w.kill()
		w.audit(o)
		w.start()
		w.request(repo)
		w.request(o)
		w.applied(o, id)
		w.audit(o)
	}
}

// owned counts the live objects with the labels of o.
func (w *world) owned(o *kustomizev1.Kustomization) int {
	w.t.Helper()
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMapList"})
	w.Expect(w.List(w.ctx, list, client.InNamespace(w.ns), client.MatchingLabels{"kustomize.toolkit.fluxcd.io/name": o.Name})).To(Succeed())
	return len(list.Items)
}

// audit checks that every live object with our labels is in the inventory.
func (w *world) audit(o *kustomizev1.Kustomization) {
	w.t.Helper()
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMapList"})
	w.Expect(w.List(w.ctx, list, client.InNamespace(w.ns), client.MatchingLabels{"kustomize.toolkit.fluxcd.io/name": o.Name})).To(Succeed())
	w.Expect(w.Get(w.ctx, client.ObjectKeyFromObject(o), o)).To(Succeed())
	listed := map[string]bool{}
	for _, e := range o.Status.Inventory.Entries {
		listed[e.ID] = true
	}
	for _, c := range list.Items {
		id := meta.ObjectID{Namespace: c.Namespace, Name: c.Name, Kind: "ConfigMap"}.String()
		w.Expect(listed).To(HaveKey(id), "an orphan")
	}
}

// kill ends the manager without warning.
func (w *world) kill() {
	w.t.Helper()
	w.Expect(w.cmd.Process.Kill()).To(Succeed())
	<-w.exited
}

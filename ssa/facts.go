// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"context"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/ssa/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// factTime bounds the search for facts about objects that failed.
const factTime = 5 * time.Second

const (
	factsMost = 3  // facts about one object
	factPage  = 50 // pods and events that are looked at
)

// explain adds to what failed, or is still there, what the cluster says about
// it: why containers wait and the newest warnings, or how many pods are left.
// It makes at most two requests per object, for at most 20 objects.
func (w *Waiter) explain(ctx context.Context) {
	dctx, cancel := context.WithTimeout(ctx, factTime)
	defer cancel()
	events, err := w.m.c.Resource(dctx, schema.GroupVersionKind{Version: "v1", Kind: "Event"})
	if err != nil {
		return
	}
	pods, err := w.m.c.Resource(dctx, schema.GroupVersionKind{Version: "v1", Kind: "Pod"})
	if err != nil {
		return
	}
	n := 0
	for i := range w.targets {
		w.mu.Lock()
		t := w.targets[i]
		w.mu.Unlock()
		if t.ok || t.uid == "" || !w.o.Gone && t.status != status.Failed && t.status != status.InProgress {
			continue
		}
		if n++; n > explainedMost {
			return
		}
		var facts []string
		switch {
		case w.o.Gone:
			facts = w.remaining(dctx, pods, &t)
		default:
			facts = w.waiting(dctx, pods, &t)
			if len(facts) < factsMost {
				facts = append(facts, w.warnings(dctx, events, &t, factsMost-len(facts))...)
			}
		}
		w.mu.Lock()
		w.targets[i].facts = append(w.targets[i].facts, facts...)
		w.mu.Unlock()
	}
}

// podSelector returns what selects the pods of a workload; "" for other kinds.
func podSelector(u *unstructured.Unstructured) string {
	switch u.GroupVersionKind().GroupKind() {
	case schema.GroupKind{Group: "apps", Kind: "Deployment"}, schema.GroupKind{Group: "apps", Kind: "StatefulSet"},
		schema.GroupKind{Group: "apps", Kind: "DaemonSet"}, schema.GroupKind{Group: "apps", Kind: "ReplicaSet"},
		schema.GroupKind{Group: "batch", Kind: "Job"}:
	default:
		return ""
	}
	var s metav1.LabelSelector
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(nestedMap(u.Object, "spec", "selector"), &s); err != nil {
		return ""
	}
	sel, err := metav1.LabelSelectorAsSelector(&s)
	if err != nil || sel.Empty() {
		return ""
	}
	return sel.String()
}

// pods yields the first pods of a workload.
func (w *Waiter) pods(ctx context.Context, r Resource, t *tracked) iter.Seq[*unstructured.Unstructured] {
	return func(yield func(*unstructured.Unstructured) bool) {
		if t.pods == "" {
			return
		}
		n := 0
		for u, err := range w.m.c.List(ctx, r, ListOptions{Namespace: t.id.Namespace, LabelSelector: t.pods, PageSize: factPage}) {
			if n++; err != nil || !yield(u) || n == factPage {
				return
			}
		}
	}
}

// waiting returns why containers of the workload's pods wait, each reason once.
func (w *Waiter) waiting(ctx context.Context, r Resource, t *tracked) (facts []string) {
	seen := map[string]bool{}
	for u := range w.pods(ctx, r, t) {
		for _, list := range [...]string{"initContainerStatuses", "containerStatuses"} {
			statuses, _ := nestedMap(u.Object, "status")[list].([]any)
			for _, s := range statuses {
				s, _ := s.(map[string]any)
				state := nestedMap(s, "state", "waiting")
				reason, _ := state["reason"].(string)
				name, _ := s["name"].(string)
				if reason == "" || reason == "ContainerCreating" || reason == "PodInitializing" || seen[name+" "+reason] {
					continue
				}
				seen[name+" "+reason] = true
				message, _ := state["message"].(string)
				text := "pod " + u.GetName() + ", container " + name + ": " + reason
				if message != "" {
					text += ": " + message
				}
				if facts = append(facts, cutText(text, 200)); len(facts) == factsMost {
					return facts
				}
			}
		}
	}
	return facts
}

// remaining counts the pods of a workload that is to be gone.
func (w *Waiter) remaining(ctx context.Context, r Resource, t *tracked) []string {
	n := 0
	for range w.pods(ctx, r, t) {
		n++
	}
	switch {
	case n == 0:
		return nil
	case n == factPage:
		return []string{"at least " + strconv.Itoa(n) + " pods remain"}
	}
	return []string{strconv.Itoa(n) + " pods remain"}
}

// contents is what a namespace or a definition that is being deleted says of
// what is left in it.
func contents(u *unstructured.Unstructured) (facts []string) {
	conditions, _ := nestedMap(u.Object, "status")["conditions"].([]any)
	for _, c := range conditions {
		c, _ := c.(map[string]any)
		message, _ := c["message"].(string)
		switch c["type"] {
		case "NamespaceContentRemaining", "NamespaceFinalizersRemaining", "NamespaceDeletionContentFailure":
			if c["status"] == "True" && len(facts) < factsMost {
				facts = append(facts, cutText(message, 200))
			}
		case "Terminating":
			if c["status"] == "True" && u.GetKind() == "CustomResourceDefinition" {
				facts = append(facts, cutText(message, 200))
			}
		}
	}
	return facts
}

// warnings returns the texts of up to most warnings, the newest first.
func (w *Waiter) warnings(ctx context.Context, r Resource, t *tracked, most int) []string {
	type warning struct{ at, text string }
	var found []warning
	ns := t.id.Namespace
	if ns == "" {
		ns = "default"
	}
	for u, err := range w.m.c.List(ctx, r, ListOptions{Namespace: ns, FieldSelector: "type=Warning,involvedObject.uid=" + t.uid, PageSize: factPage}) {
		if err != nil {
			return nil
		}
		at := nestedString(u.Object, "lastTimestamp")
		if at == "" {
			at = nestedString(u.Object, "eventTime")
		}
		reason, _ := u.Object["reason"].(string)
		message, _ := u.Object["message"].(string)
		found = append(found, warning{at, cutText(reason+": "+message, 200)})
		if len(found) == factPage {
			break
		}
	}
	var out []string
	for len(out) < most && len(found) > 0 {
		newest := 0
		for i := range found {
			if strings.Compare(found[i].at, found[newest].at) > 0 {
				newest = i
			}
		}
		out = append(out, found[newest].text)
		found = append(found[:newest], found[newest+1:]...)
	}
	return out
}

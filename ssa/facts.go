// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"context"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/ssa/status"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// factTime bounds the search for facts about objects that failed.
const factTime = 5 * time.Second

// explain adds to failed targets what the cluster says about them: the newest
// warnings. It makes at most one request per object, for at most 20 objects.
func (w *Waiter) explain(ctx context.Context) {
	dctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), factTime)
	defer cancel()
	r, err := w.m.c.Resource(dctx, schema.GroupVersionKind{Version: "v1", Kind: "Event"})
	if err != nil {
		return
	}
	n := 0
	for i := range w.targets {
		w.mu.Lock()
		t := w.targets[i]
		w.mu.Unlock()
		if t.ok || t.uid == "" || t.status != status.Failed && t.status != status.InProgress {
			continue
		}
		if n++; n > explainedMost {
			return
		}
		facts := w.warnings(dctx, r, &t)
		w.mu.Lock()
		w.targets[i].facts = append(w.targets[i].facts, facts...)
		w.mu.Unlock()
	}
}

// warnings returns the texts of up to three warnings, the newest first.
func (w *Waiter) warnings(ctx context.Context, r Resource, t *tracked) []string {
	type warning struct{ at, text string }
	var found []warning
	ns := t.id.Namespace
	if ns == "" {
		ns = "default"
	}
	for u, err := range w.m.c.List(ctx, r, ListOptions{Namespace: ns, FieldSelector: "type=Warning,involvedObject.uid=" + t.uid, PageSize: 50}) {
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
		if len(found) == 50 {
			break
		}
	}
	var out []string
	for len(out) < 3 && len(found) > 0 {
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

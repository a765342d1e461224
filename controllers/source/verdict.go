// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/gitops-kit/sdk/apis/meta"
	v1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/runtime/events"
	"github.com/gitops-kit/sdk/runtime/reconcile"
)

// verdictKey is what a verdict depends on: the revision, what has to be
// signed, and the Secret with the keys.
func (x *gitRun) verdictKey(o *v1.GitRepository, revision string) string {
	return fmt.Sprintf("%s %s %s", revision, o.Spec.Verification.Mode, x.access.keysVersion)
}

// verified reports whether the revision needs no verification, or passed it
// under the same policy and keys.
func (x *gitRun) verified(o *v1.GitRepository, revision string) bool {
	if o.Spec.Verification == nil {
		return true
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return conditions.IsTrue(o, v1.SourceVerifiedCondition) && x.verdicts[o.UID] == x.verdictKey(o, revision)
}

// recordVerdict stores a passed verification in status and cache.
func (x *gitRun) recordVerdict(ctx context.Context, o *v1.GitRepository) {
	if o.Spec.Verification == nil || x.checkout.Verified == nil {
		return
	}
	var b strings.Builder
	b.WriteString("verified signature of")
	for _, v := range x.checkout.Verified.Objects {
		fmt.Fprintf(&b, "\n\t- %s '%s' with key '%s'", v.Type, v.Hash, v.Signed.KeyID)
	}
	mode := o.Spec.Verification.GetMode()
	o.Status.SourceVerificationMode = &mode
	conditions.MarkTrue(o, v1.SourceVerifiedCondition, meta.SucceededReason, "%s", b.String())
	reconcile.Emit(ctx, event(o, events.Trace, meta.SucceededReason, b.String(), nil))
	x.mu.Lock()
	defer x.mu.Unlock()
	x.verdicts[o.UID] = x.verdictKey(o, x.checkout.Revision.String())
}

func (r *GitReconciler) forget(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.verdicts, uid)
}

// note turns what the client had to do without into events.
func (x *gitRun) note(ctx context.Context, o *v1.GitRepository) {
	for _, n := range x.checkout.Notes {
		if n.Kind == git.FilterUnsupported {
			reconcile.Emit(ctx, event(o, events.Warning, "FilterUnsupported",
				"the server has no partial clone: the whole tree is transferred although spec.sparseCheckout is set", nil))
		}
	}
}

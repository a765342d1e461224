// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	v1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/runtime/events"
	"github.com/gitops-kit/sdk/runtime/reconcile"
)

const (
	defaultTimeout = time.Minute
	collectBudget  = 5 * time.Second
	subjectRunes   = 50
	lfsAnnotation  = "gitops-kit.github.io/git-lfs"

	revisionKey = "revision"
	digestKey   = "digest"
)

// failures are the conditions that a run clears step by step; their order is
// that of the reasons they give to Ready.
var failures = []string{ //nolint:gochecknoglobals // constant
	v1.StorageOperationFailedCondition, v1.FetchFailedCondition, v1.IncludeUnavailableCondition,
}

// ownedConditions are those nobody else writes.
var ownedConditions = append([]string{ //nolint:gochecknoglobals // constant
	v1.ArtifactInStorageCondition, v1.ArtifactOutdatedCondition, v1.SourceVerifiedCondition,
}, failures...)

// fail records err under its condition and returns what ends the run.
func (x *gitRun) fail(o *v1.GitRepository, step Step, err error) error {
	condition, reason, class := Reason(step, err)
	text := explain(o, err)
	if condition == v1.SourceVerifiedCondition {
		conditions.MarkFalse(o, condition, reason, "%s", text)
		x.forget(o.UID)
	} else {
		conditions.MarkTrue(o, condition, reason, "%s", text)
	}
	f := &RunError{Condition: condition, Why: reason, Class: class, Text: text, Err: err}
	if class == Waiting {
		return &reconcile.WaitingError{Message: text, ReasonText: reason, Err: f}
	}
	return f
}

// explain appends what a user can do about an error to its text.
func explain(o *v1.GitRepository, err error) string {
	hint := ""
	secret := "set spec.secretRef to a Secret with credentials" //nolint:gosec // advice, no credential
	if o.Spec.SecretRef != nil {
		secret = fmt.Sprintf("check the credentials in Secret '%s/%s'", o.Namespace, o.Spec.SecretRef.Name)
	}
	switch {
	case errors.Is(err, git.ErrHostKeyUnknown):
		hint = "add the server's host key to known_hosts in the Secret of spec.secretRef"
	case errors.Is(err, git.ErrHostKeyMismatch), errors.Is(err, git.ErrHostKeyRevoked):
		hint = "do not trust this server until its host key is confirmed; then update known_hosts in the Secret of spec.secretRef"
	case errors.Is(err, git.ErrKeyPassphrase):
		hint = "set password in the Secret of spec.secretRef to the key's passphrase"
	case errors.Is(err, git.ErrAuth), errors.Is(err, git.ErrForbidden):
		hint = secret
	case errors.Is(err, git.ErrRepositoryNotFound):
		hint = "check spec.url; a private repository may also need other credentials: " + secret
	case errors.Is(err, git.ErrRefNotFound), errors.Is(err, git.ErrNoSemverMatch), errors.Is(err, git.ErrCommitNotFound), errors.Is(err, git.ErrCommitNotOnBranch):
		hint = "check spec.ref, or push what it names"
	case errors.Is(err, git.ErrEmptyRepository):
		hint = "push a first commit"
	case errors.Is(err, git.ErrSparsePath):
		hint = "check spec.sparseCheckout"
	case errors.Is(err, git.ErrVerificationFailed):
		hint = "sign with a key of the Secret in spec.verify.secretRef"
	default:
		hint = explainConnection(err)
	}
	if hint == "" {
		return err.Error()
	}
	return err.Error() + "; " + hint
}

// explainConnection is explain for errors below the Git protocol.
func explainConnection(err error) string {
	var certificate *tls.CertificateVerificationError
	var network net.Error
	switch {
	case errors.Is(err, git.ErrLimit):
		return "make the repository smaller, or raise the limit with the controller's flag --limit"
	case errors.Is(err, git.ErrAddressBlocked):
		return "if the address is right, allow it with the controller's flag --allow-cidr"
	case errors.As(err, &certificate):
		return "set ca.crt in the Secret of spec.secretRef to the authority that signed the server's certificate"
	case errors.Is(err, context.DeadlineExceeded):
		return "raise spec.timeout, or check the connection to the server"
	case errors.As(err, &network):
		return "check spec.url and the connection to the server"
	}
	return ""
}

// progress shows what the rest of the run is about, in a write of its own.
func (x *gitRun) progress(ctx context.Context, o *v1.GitRepository, format string, args ...any) error {
	if c := conditions.Get(o, v1.ArtifactOutdatedCondition); c != nil {
		conditions.MarkFalse(o, meta.ReadyCondition, c.Reason, "%s", c.Message)
	} else {
		conditions.MarkUnknown(o, meta.ReadyCondition, meta.ProgressingReason, format, args...)
	}
	reconcile.Progress(ctx, format, args...)
	return reconcile.Checkpoint(ctx)
}

// announce emits the event of a stored or recovered artifact, if there is
// anything to say.
func (x *gitRun) announce(ctx context.Context, o *v1.GitRepository, text string) {
	a, old := o.Status.Artifact, x.before.Status.Artifact
	data := map[string]string{revisionKey: a.Revision, digestKey: a.Digest}
	switch {
	case old == nil || !old.HasDigest(a.Digest):
		reconcile.Emit(ctx, event(o, events.Normal, "NewArtifact", text, data))
	case x.recovered():
		reconcile.Emit(ctx, event(o, events.Normal, meta.SucceededReason, text, data))
	}
}

func (x *gitRun) recovered() bool {
	for _, c := range failures {
		if conditions.IsTrue(x.before, c) {
			return true
		}
	}
	return conditions.IsFalse(x.before, v1.SourceVerifiedCondition)
}

func succeeded(o *v1.GitRepository) reconcile.Result {
	return reconcile.Result{
		Done:    true,
		Reason:  conditions.Reason(o, v1.ArtifactInStorageCondition),
		Message: conditions.Message(o, v1.ArtifactInStorageCondition),
	}
}

// endEvent is the event about the end of a run: failures only, successes are
// announced by the run itself.
func endEvent(o *v1.GitRepository, s reconcile.Summary) (events.Event, bool) {
	switch s.Outcome {
	case reconcile.Succeeded, reconcile.Unchanged:
		return events.Event{}, false
	case reconcile.Waits:
		return event(o, events.Trace, s.Reason, s.Message, nil), true
	default:
	}
	return event(o, events.Warning, s.Reason, s.Message, nil), true
}

func event(o *v1.GitRepository, kind events.Type, reason, text string, data map[string]string) events.Event {
	return events.Event{Object: o, Type: kind, Reason: reason, Message: text, Metadata: data}
}

// subject returns the first line of a commit message, cut to 50 runes.
func subject(message string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(message), "\n")
	if runes := []rune(line); len(runes) > subjectRunes {
		return string(runes[:subjectRunes]) + "..."
	}
	return line
}

func timeoutOf(o *v1.GitRepository) time.Duration {
	if o.Spec.Timeout != nil && o.Spec.Timeout.Duration > 0 {
		return o.Spec.Timeout.Duration
	}
	return defaultTimeout
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// The API server has no code for "this field cannot change" and for "this
// webhook cannot be rehearsed": these two functions are the only places that
// read what it says; the tests provoke each of these replies.

// immutableFields returns the fields that a 422 names as immutable.
func immutableFields(err error) []string {
	st := statusOf(err)
	if st == nil || st.Code != http.StatusUnprocessableEntity || st.Details == nil {
		return nil
	}
	var out []string
	for _, c := range st.Details.Causes {
		if immutableMessage(c.Message) && !slices.Contains(out, c.Field) {
			out = append(out, c.Field)
		}
	}
	return out
}

func immutableMessage(m string) bool {
	if strings.Contains(m, "updates to ") && (strings.Contains(m, " are forbidden") || strings.Contains(m, " for fields other than")) {
		return true
	}
	for _, s := range [...]string{"immutable", "may not be changed", "may not change once set", "cannot be changed", "cannot change roleRef"} {
		if strings.Contains(m, s) {
			return true
		}
	}
	return false
}

// dryRunUnsupported returns the name of the webhook that refuses dry-runs.
func dryRunUnsupported(err error) (webhook string, ok bool) {
	st := statusOf(err)
	if st == nil || st.Code != http.StatusBadRequest {
		return "", false
	}
	const head, tail = `admission webhook "`, `" does not support dry run`
	_, rest, ok := strings.Cut(st.Message, head)
	if !ok {
		return "", false
	}
	webhook, _, ok = strings.Cut(rest, tail)
	return webhook, ok
}

func statusOf(err error) *metav1.Status {
	var s apierrors.APIStatus
	if err == nil || !errors.As(err, &s) {
		return nil
	}
	st := s.Status()
	return &st
}

// conflictOf returns the managers and fields of an apply conflict.
func conflictOf(err error) *ConflictError {
	st := statusOf(err)
	if st == nil || st.Code != http.StatusConflict || st.Details == nil {
		return nil
	}
	var out ConflictError
	for _, c := range st.Details.Causes {
		if c.Type != metav1.CauseTypeFieldManagerConflict {
			continue
		}
		out.Fields = append(out.Fields, c.Field)
		if out.Manager == "" {
			if parts := strings.SplitN(c.Message, `"`, 3); len(parts) == 3 {
				out.Manager = parts[1]
			}
		}
	}
	if len(out.Fields) == 0 {
		return nil
	}
	return &out
}

// objectError makes the error of one object from what the server said. What
// it said about a sensitive object is withheld: only the reason and the field
// paths remain, also in Unwrap.
func (k *masker) objectError(id ID, op, source string, u *unstructured.Unstructured, err error) *ObjectError {
	if have, ok := errors.AsType[*ObjectError](err); ok {
		return have
	}
	oe := &ObjectError{ID: id, Op: op, Source: source, Err: err}
	st := statusOf(err)
	if st == nil {
		oe.Message = oneLine(err.Error())
		return oe
	}
	oe.APIReason = string(st.Reason)
	oe.Fields = fieldsOf(st)
	if k.sensitive(id, u) {
		if _, ours := err.(interface{ Reason() string }); !ours {
			oe.Err = withheld(st)
			oe.Message = "message withheld"
			if len(oe.Fields) > 0 {
				oe.Message = "[" + strings.Join(oe.Fields, ", ") + "]: message withheld"
			}
			return oe
		}
	}
	oe.Message = oneLine(st.Message)
	if op == OpDryRun && apierrors.IsNotFound(err) {
		oe.Message = "not found: " + oe.Message
	}
	return oe
}

func fieldsOf(st *metav1.Status) []string {
	if st.Details == nil {
		return duplicateEntries(st.Message)
	}
	var out []string
	for _, c := range st.Details.Causes {
		if c.Field != "" && !slices.Contains(out, c.Field) {
			out = append(out, c.Field)
		}
	}
	if len(out) == 0 {
		out = duplicateEntries(st.Message)
	}
	return out
}

// duplicateEntries finds the lists that a conversion error complains about:
// it names them only in its text, one per line.
func duplicateEntries(message string) []string {
	if !strings.Contains(message, "duplicate entries for key") {
		return nil
	}
	var out []string
	for line := range strings.SplitSeq(message, "\n") {
		before, _, ok := strings.Cut(line, ": duplicate entries for key")
		if !ok {
			continue
		}
		if i := strings.LastIndexAny(before, " ;"); i >= 0 {
			before = before[i+1:]
		}
		if f := strings.TrimPrefix(before, "."); f != "" && !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	return out
}

// withheld keeps of a status what tells the case, not what was in the object.
func withheld(st *metav1.Status) error {
	out := metav1.Status{Status: st.Status, Reason: st.Reason, Code: st.Code, Message: errWithheld.Error()}
	if st.Details != nil {
		out.Details = &metav1.StatusDetails{Name: st.Details.Name, Group: st.Details.Group, Kind: st.Details.Kind, RetryAfterSeconds: st.Details.RetryAfterSeconds}
		for _, c := range st.Details.Causes {
			out.Details.Causes = append(out.Details.Causes, metav1.StatusCause{Type: c.Type, Field: c.Field})
		}
	}
	return &apierrors.StatusError{ErrStatus: out}
}

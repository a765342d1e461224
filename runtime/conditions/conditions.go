// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package conditions

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/internal/text"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Getter is an object with conditions.
type Getter interface {
	GetGeneration() int64
	GetConditions() []metav1.Condition
}

// Setter is an object whose conditions can be changed.
type Setter interface {
	Getter
	SetConditions([]metav1.Condition)
}

// Get returns a copy of the condition of that type, nil when o is nil or has
// none.
func Get(o Getter, typ string) *metav1.Condition {
	if o == nil {
		return nil
	}
	for _, c := range o.GetConditions() {
		if c.Type == typ {
			return &c
		}
	}
	return nil
}

// Has reports whether o has a condition of that type.
func Has(o Getter, typ string) bool { return Get(o, typ) != nil }

// IsTrue reports whether the condition is present and True.
func IsTrue(o Getter, typ string) bool { return status(o, typ) == metav1.ConditionTrue }

// IsFalse reports whether the condition is present and False.
func IsFalse(o Getter, typ string) bool { return status(o, typ) == metav1.ConditionFalse }

// IsUnknown reports whether the condition is absent or Unknown.
func IsUnknown(o Getter, typ string) bool { return status(o, typ) == metav1.ConditionUnknown }

// Reason returns the reason of the condition, "" when it is absent.
func Reason(o Getter, typ string) string {
	if c := Get(o, typ); c != nil {
		return c.Reason
	}
	return ""
}

// Message returns the message of the condition, "" when it is absent.
func Message(o Getter, typ string) string {
	if c := Get(o, typ); c != nil {
		return c.Message
	}
	return ""
}

// IsReady reports whether Ready is True and the object is neither reconciling
// nor stalled.
func IsReady(o Getter) bool {
	return IsTrue(o, meta.ReadyCondition) && !IsTrue(o, meta.ReconcilingCondition) && !IsTrue(o, meta.StalledCondition)
}

// IsReconciling reports whether Reconciling is True and Stalled is not.
func IsReconciling(o Getter) bool {
	return IsTrue(o, meta.ReconcilingCondition) && !IsTrue(o, meta.StalledCondition)
}

// IsStalled reports whether Stalled is True and Reconciling is not.
func IsStalled(o Getter) bool {
	return IsTrue(o, meta.StalledCondition) && !IsTrue(o, meta.ReconcilingCondition)
}

// MarkTrue sets the condition to True.
func MarkTrue(o Setter, typ, reason, format string, a ...any) {
	mark(o, typ, metav1.ConditionTrue, reason, format, a...)
}

// MarkFalse sets the condition to False.
func MarkFalse(o Setter, typ, reason, format string, a ...any) {
	mark(o, typ, metav1.ConditionFalse, reason, format, a...)
}

// MarkUnknown sets the condition to Unknown.
func MarkUnknown(o Setter, typ, reason, format string, a ...any) {
	mark(o, typ, metav1.ConditionUnknown, reason, format, a...)
}

// MarkReconciling sets Reconciling to True and removes Stalled.
func MarkReconciling(o Setter, reason, format string, a ...any) {
	Delete(o, meta.StalledCondition)
	mark(o, meta.ReconcilingCondition, metav1.ConditionTrue, reason, format, a...)
}

// MarkStalled sets Stalled to True and removes Reconciling.
func MarkStalled(o Setter, reason, format string, a ...any) {
	Delete(o, meta.ReconcilingCondition)
	mark(o, meta.StalledCondition, metav1.ConditionTrue, reason, format, a...)
}

// Set adds c or replaces the condition of its type. The observed generation is
// that of o; the transition time is kept when status, reason and message are
// equal, else it is now in UTC and whole seconds; the message is cut and
// escaped; an invalid reason becomes Failed. The list is left in its order:
// Stalled, Reconciling, Ready, then by observed generation, newest first, then
// by type. A nil o or an empty type changes nothing.
func Set(o Setter, c metav1.Condition) { SetAt(o, c, time.Now()) }

// SetAt is [Set] with a given time.
func SetAt(o Setter, c metav1.Condition, now time.Time) {
	if o == nil || c.Type == "" {
		return
	}
	c.ObservedGeneration = o.GetGeneration()
	c.Message = CleanMessage(c.Message)
	if !ValidReason(c.Reason) {
		c.Reason = meta.FailedReason
	}
	if c.Status != metav1.ConditionTrue && c.Status != metav1.ConditionFalse {
		c.Status = metav1.ConditionUnknown
	}
	c.LastTransitionTime = metav1.NewTime(now.UTC().Truncate(time.Second))
	old := o.GetConditions()
	out := make([]metav1.Condition, 0, len(old)+1)
	for _, e := range old {
		if e.Type != c.Type {
			out = append(out, e)
			continue
		}
		if sameState(e, c) && !e.LastTransitionTime.IsZero() {
			c.LastTransitionTime = e.LastTransitionTime
		}
	}
	out = append(out, c)
	Sort(out)
	o.SetConditions(out)
}

// Delete removes the conditions of those types.
func Delete(o Setter, types ...string) {
	if o == nil {
		return
	}
	old := o.GetConditions()
	out := make([]metav1.Condition, 0, len(old))
	for _, c := range old {
		if !slices.Contains(types, c.Type) {
			out = append(out, c)
		}
	}
	if len(out) != len(old) {
		o.SetConditions(out)
	}
}

// Sort puts a list of conditions in its documented order.
func Sort(list []metav1.Condition) {
	slices.SortStableFunc(list, func(a, b metav1.Condition) int {
		return cmp.Or(
			cmp.Compare(rank(a.Type), rank(b.Type)),
			cmp.Compare(b.ObservedGeneration, a.ObservedGeneration),
			cmp.Compare(a.Type, b.Type),
		)
	})
}

// ValidReason reports whether the API server accepts s as a reason: 1 to 1,024
// letters, digits, "_", "," and ":", starting with a letter, not ending in ","
// or ":".
func ValidReason(s string) bool {
	if s == "" || len(s) > meta.MaxConditionReason {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if letter || i > 0 && (c >= '0' && c <= '9' || c == '_') {
			continue
		}
		if i > 0 && i < len(s)-1 && (c == ',' || c == ':') {
			continue
		}
		return false
	}
	return true
}

// CleanMessage escapes control characters other than newline and tab, bidi
// controls and invalid UTF-8, and cuts the text to 32,768 bytes at a rune
// boundary; a cut text ends in "...".
func CleanMessage(s string) string {
	return text.Cut(text.Escape(s, meta.MaxConditionMessage), meta.MaxConditionMessage, "...")
}

func mark(o Setter, typ string, s metav1.ConditionStatus, reason, format string, a ...any) {
	message := format
	if len(a) > 0 {
		message = fmt.Sprintf(format, a...)
	}
	Set(o, metav1.Condition{Type: typ, Status: s, Reason: reason, Message: message})
}

func status(o Getter, typ string) metav1.ConditionStatus {
	if o != nil {
		for _, c := range o.GetConditions() {
			if c.Type == typ {
				return c.Status
			}
		}
	}
	return metav1.ConditionUnknown
}

func sameState(a, b metav1.Condition) bool {
	return a.Status == b.Status && a.Reason == b.Reason && a.Message == b.Message
}

func rank(typ string) int {
	switch typ {
	case meta.StalledCondition:
		return 0
	case meta.ReconcilingCondition:
		return 1
	case meta.ReadyCondition:
		return 2
	}
	return 3
}

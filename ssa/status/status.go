// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/ssa/internal/redact"
)

// Status is the state of an object.
type Status string

// The states.
const (
	Current     Status = "Current"     // as specified
	InProgress  Status = "InProgress"  // on its way
	Failed      Status = "Failed"      // will not get there by itself
	Terminating Status = "Terminating" // being deleted
	NotFound    Status = "NotFound"    // does not exist
	Unknown     Status = "Unknown"     // cannot be told
)

// Result is the state with its grounds.
type Result struct {
	Status  Status
	Reason  string // CamelCase
	Message string
}

// Options switch to the established behaviour where ours is stricter. The
// zero value is ours.
type Options struct {
	// CompatOnDelete: a StatefulSet that is updated by deleting its pods is
	// Current without looking at replicas.
	CompatOnDelete bool
	// CompatPodFailed: a Pod in phase Failed is Current.
	CompatPodFailed bool
	// BindingMode returns volumeBindingMode of a StorageClass ("" is the
	// default class); ok is false when it is not known.
	BindingMode func(class string) (mode string, ok bool)
	// Now is the time to which durations count. Zero: pods are not judged by
	// how long they have been unschedulable.
	Now time.Time
}

// Compute judges an object. It accepts any JSON object.
func Compute(object map[string]any, o Options) Result {
	x := obj{m: object, o: o}
	r := x.generic()
	if r.Status == "" {
		r = x.byKind()
	}
	r.Message = redact.Text(r.Message, 1024)
	return r
}

type obj struct {
	m map[string]any
	o Options
}

func current(reason, format string, args ...any) Result {
	return Result{Current, reason, fmt.Sprintf(format, args...)}
}

func progress(reason, format string, args ...any) Result {
	return Result{InProgress, reason, fmt.Sprintf(format, args...)}
}

func failed(reason, format string, args ...any) Result {
	return Result{Failed, reason, fmt.Sprintf(format, args...)}
}

func nested(m map[string]any, path ...string) any {
	for i, p := range path {
		v, ok := m[p]
		if !ok {
			return nil
		}
		if i == len(path)-1 {
			return v
		}
		if m, ok = v.(map[string]any); !ok {
			return nil
		}
	}
	return nil
}

func (x obj) text(path ...string) string {
	s, _ := nested(x.m, path...).(string)
	return s
}

// number returns an integer of the object.
func (x obj) number(path ...string) (int64, bool) { return integer(nested(x.m, path...)) }

func integer(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case int:
		return int64(v), true
	case int32:
		return int64(v), true
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v), true
		}
	}
	return 0, false
}

func (x obj) numberOr(def int64, path ...string) int64 {
	if n, ok := x.number(path...); ok {
		return n
	}
	return def
}

type condition struct{ status, reason, message string }

func (x obj) condition(kind string) (condition, bool) {
	list, _ := nested(x.m, "status", "conditions").([]any)
	for _, c := range list {
		m, ok := c.(map[string]any)
		if !ok || nested(m, "type") != kind {
			continue
		}
		var out condition
		out.status, _ = m["status"].(string)
		out.reason, _ = m["reason"].(string)
		out.message, _ = m["message"].(string)
		return out, true
	}
	return condition{}, false
}

func (x obj) isTrue(kind string) (condition, bool) {
	c, ok := x.condition(kind)
	return c, ok && c.status == "True"
}

// generic applies what holds for every kind. Status is empty when nothing does.
func (x obj) generic() Result {
	if x.text("metadata", "deletionTimestamp") != "" {
		return Result{Terminating, "Terminating", "resource is being deleted"}
	}
	if seen, ok := x.number("status", "observedGeneration"); ok {
		if gen, ok := x.number("metadata", "generation"); ok && seen != gen {
			return progress("LatestGenerationNotObserved", "generation is %d, observed generation is %d", gen, seen)
		}
	}
	if c, ok := x.isTrue("Reconciling"); ok {
		return progress(or(c.reason, "Reconciling"), "%s", c.message)
	}
	if c, ok := x.isTrue("Stalled"); ok {
		return failed(or(c.reason, "Stalled"), "%s", c.message)
	}
	return Result{}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// byKind applies the rules of the object's kind.
func (x obj) byKind() Result {
	apiVersion, kind := x.text("apiVersion"), x.text("kind")
	group, _, ok := strings.Cut(apiVersion, "/")
	if !ok {
		group = ""
	}
	switch group + "/" + kind {
	case "apps/Deployment", "extensions/Deployment":
		return x.deployment()
	case "apps/StatefulSet":
		return x.statefulSet()
	case "apps/DaemonSet", "extensions/DaemonSet":
		return x.daemonSet()
	case "apps/ReplicaSet", "extensions/ReplicaSet":
		return x.replicaSet()
	case "batch/Job":
		return x.job()
	case "/Pod":
		return x.pod()
	case "/PersistentVolumeClaim":
		return x.claim()
	case "/Service":
		return x.service()
	case "apiextensions.k8s.io/CustomResourceDefinition":
		return x.definition()
	case "apiregistration.k8s.io/APIService":
		return x.apiService()
	}
	return x.ready()
}

// ready judges by the condition Ready; without one an object is Current.
func (x obj) ready() Result {
	c, ok := x.condition("Ready")
	switch {
	case !ok:
		return current("NoStatus", "resource is current")
	case c.status == "True":
		return current(or(c.reason, "Ready"), "%s", or(c.message, "resource is ready"))
	case c.status == "False" || c.status == "Unknown":
		return progress(or(c.reason, "NotReady"), "%s", or(c.message, "resource is not ready"))
	}
	return Result{Unknown, "InvalidCondition", fmt.Sprintf("condition Ready has status %q", c.status)}
}

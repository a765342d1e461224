// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// rankOther is the rank of every kind that is not in the table.
const rankOther = 23

type ranked struct {
	group string // the only group the rank is for; "*" any
	rank  int
}

// ranks orders kinds from the first applied to the last. A kind that exists
// in a built-in group gets its rank in that group only.
var ranks = map[string]ranked{ //nolint:gochecknoglobals // a table that nobody changes
	"CustomResourceDefinition":       {"apiextensions.k8s.io", 0},
	"Namespace":                      {"", 1},
	"ClusterRole":                    {"rbac.authorization.k8s.io", 2},
	"ClusterClass":                   {"*", 3},
	"RuntimeClass":                   {"node.k8s.io", 4},
	"PriorityClass":                  {"scheduling.k8s.io", 5},
	"StorageClass":                   {"storage.k8s.io", 6},
	"VolumeSnapshotClass":            {"*", 7},
	"IngressClass":                   {"networking.k8s.io", 8},
	"GatewayClass":                   {"*", 9},
	"ClusterRoleBinding":             {"rbac.authorization.k8s.io", 10},
	"ResourceQuota":                  {"", 11},
	"ServiceAccount":                 {"", 12},
	"Role":                           {"rbac.authorization.k8s.io", 13},
	"RoleBinding":                    {"rbac.authorization.k8s.io", 14},
	"ConfigMap":                      {"", 15},
	"Secret":                         {"", 16},
	"Service":                        {"", 17},
	"LimitRange":                     {"", 18},
	"Deployment":                     {"apps", 19},
	"StatefulSet":                    {"apps", 20},
	"CronJob":                        {"batch", 21},
	"PodDisruptionBudget":            {"policy", 22},
	"MutatingWebhookConfiguration":   {"admissionregistration.k8s.io", 24},
	"ValidatingWebhookConfiguration": {"admissionregistration.k8s.io", 25},
}

func rankOf(gk schema.GroupKind) int {
	if r, ok := ranks[gk.Kind]; ok && (r.group == "*" || r.group == gk.Group) {
		return r.rank
	}
	return rankOther
}

// compareIDs breaks ties inside a rank.
func compareIDs(a, b ID) int {
	return cmp.Or(strings.Compare(a.Group, b.Group), strings.Compare(a.Kind, b.Kind),
		strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

// Stage is a group of objects that is applied before the next one starts.
type Stage struct {
	// Match says which kinds belong to the stage; the first stage that
	// matches wins. nil matches every kind.
	Match func(schema.GroupKind) bool
	// Wait bounds how long the stage waits until what it created or updated
	// is ready. 0: no wait. Definitions of kinds are awaited always.
	Wait time.Duration
}

const stageWait = 60 * time.Second

// DefaultStages returns the stages: definitions, namespaces and cluster
// roles; kinds ending in Class; nothing, a place for kinds of your own (see
// [ParseGroupKinds]); the rest.
func DefaultStages() []Stage {
	return []Stage{
		{Match: func(gk schema.GroupKind) bool {
			switch gk.Kind {
			case "CustomResourceDefinition", "Namespace", "ClusterRole":
				return rankOf(gk) != rankOther
			}
			return false
		}, Wait: stageWait},
		{Match: func(gk schema.GroupKind) bool { return strings.HasSuffix(gk.Kind, "Class") }, Wait: stageWait},
		{Match: func(schema.GroupKind) bool { return false }},
		{},
	}
}

// GroupKinds is a set of kinds.
type GroupKinds []schema.GroupKind

// ParseGroupKinds reads "group/Kind,Kind"; a Kind without group is of the core
// group. The result's Match fits [Stage]. Malformed text is an error that
// matches [ErrInvalidObject].
func ParseGroupKinds(text string) (GroupKinds, error) {
	var out GroupKinds
	if strings.TrimSpace(text) == "" {
		return out, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		gk := schema.GroupKind{Kind: part}
		if i := strings.LastIndexByte(part, '/'); i >= 0 {
			gk = schema.GroupKind{Group: part[:i], Kind: part[i+1:]}
			if gk.Group == "" {
				return nil, fmt.Errorf("parse group and kind %q: empty group: %w", part, ErrInvalidObject)
			}
		}
		if gk.Kind == "" || strings.ContainsAny(part, " \t\n") || strings.Count(part, "/") > 1 ||
			gk.Kind[0] < 'A' || gk.Kind[0] > 'Z' {
			return nil, fmt.Errorf("parse group and kind %q: want group/Kind or Kind: %w", part, ErrInvalidObject)
		}
		out = append(out, gk)
	}
	return out, nil
}

// Match reports whether gk is in the set.
func (g GroupKinds) Match(gk schema.GroupKind) bool { return slices.Contains(g, gk) }

// stageOf returns the index of the first matching stage; kinds that no stage
// matches come after all of them.
func stageOf(stages []Stage, gk schema.GroupKind) int {
	for i, s := range stages {
		if s.Match == nil || s.Match(gk) {
			return i
		}
	}
	return len(stages)
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"fmt"
	"math/rand/v2"

	"github.com/gitops-kit/sdk/ssa/status"
)

// purposes say where our verdict differs from the library's on purpose, by
// kind, our reason and its verdict.
var purposes = map[string]string{
	"PersistentVolumeClaim Lost not InProgress": "a lost volume does not come back",
	"Job JobInProgress not Current":             "a job is what it does, not that it has begun",
	"Job JobFailed not Current":                 "failed beside complete is failed, in whatever order",
	"Job JobSuspended not InProgress":           "a suspended job is as specified",
	"DaemonSet DaemonSetReady not InProgress":   "OnDelete: nobody updates the pods",
	"Pod ContainerCrashLooping not InProgress":  "init containers crash in phase Pending",
	"Deployment Paused not InProgress":          "a paused rollout whose replicas are there is as specified",
	"StatefulSet RevisionMismatch not Current":  "partition 0 is what the API server fills in, and no partition",
	"StatefulSet LessCurrent not Current":       "partition 0 is what the API server fills in, and no partition",
}

// deliberate returns the purpose of a difference, "" if there is none.
func deliberate(o map[string]any, ours status.Result, theirs string) string {
	return purposes[fmt.Sprintf("%s %s not %s", o["kind"], ours.Reason, theirs)]
}

type gen struct{ *rand.Rand }

func (r gen) pick(of ...string) string { return of[r.IntN(len(of))] }

// some puts numbers of 0 to 2 under some of the keys.
func (r gen) some(m map[string]any, keys ...string) {
	full := r.IntN(2) == 0
	n := int64(r.IntN(3))
	for _, k := range keys {
		switch {
		case r.IntN(8) == 0:
		case full && r.IntN(6) > 0:
			m[k] = n
		default:
			m[k] = int64(r.IntN(3))
		}
	}
}

// conditions puts some of the types in, with one of the reasons.
func (r gen) conditions(st map[string]any, types []string, reasons ...string) {
	var list []any
	for _, t := range types {
		if r.IntN(3) == 0 {
			continue
		}
		c := map[string]any{"type": t, "status": r.pick("True", "True", "False", "Unknown")}
		if len(reasons) > 0 && r.IntN(4) > 0 {
			c["reason"] = r.pick(reasons...)
		}
		list = append(list, c)
	}
	if list != nil || r.IntN(2) == 0 {
		st["conditions"] = list
	}
}

type shape struct {
	version, kind string
	fill          func(r gen, spec, st map[string]any)
}

func shapes() []shape {
	return []shape{
		{"apps/v1", "Deployment", func(r gen, spec, st map[string]any) {
			r.some(spec, "replicas")
			if r.IntN(3) > 0 {
				spec["progressDeadlineSeconds"] = int64(600)
			}
			if r.IntN(6) == 0 {
				spec["paused"] = true
			}
			r.some(st, "replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
			r.conditions(st, []string{"Progressing", "Available"}, "NewReplicaSetAvailable", "NewReplicaSetAvailable", "ReplicaSetUpdated", "ProgressDeadlineExceeded", "MinimumReplicasAvailable")
		}},
		{"apps/v1", "StatefulSet", func(r gen, spec, st map[string]any) {
			r.some(spec, "replicas")
			u := map[string]any{}
			if r.IntN(2) == 0 {
				u["type"] = r.pick("RollingUpdate", "OnDelete")
			}
			if r.IntN(3) == 0 {
				u["rollingUpdate"] = map[string]any{"partition": int64(r.IntN(3))}
			}
			spec["updateStrategy"] = u
			r.some(st, "replicas", "readyReplicas", "currentReplicas", "updatedReplicas")
			st["currentRevision"], st["updateRevision"] = r.pick("a", "a", "b"), "a"
		}},
		{"apps/v1", "DaemonSet", func(r gen, spec, st map[string]any) {
			if r.IntN(3) == 0 {
				spec["updateStrategy"] = map[string]any{"type": r.pick("RollingUpdate", "OnDelete")}
			}
			r.some(st, "desiredNumberScheduled", "currentNumberScheduled", "updatedNumberScheduled", "numberAvailable", "numberReady")
		}},
		{"apps/v1", "ReplicaSet", func(r gen, spec, st map[string]any) {
			r.some(spec, "replicas")
			r.some(st, "replicas", "fullyLabeledReplicas", "availableReplicas", "readyReplicas")
			r.conditions(st, []string{"ReplicaFailure"}, "FailedCreate")
		}},
		{"batch/v1", "Job", func(r gen, spec, st map[string]any) {
			r.some(spec, "parallelism", "completions")
			if r.IntN(6) == 0 {
				spec["suspend"] = true
			}
			r.some(st, "succeeded", "active", "failed")
			if r.IntN(2) == 0 {
				st["startTime"] = "2026-01-01T00:00:00Z"
			}
			r.conditions(st, []string{"Complete", "Failed", "Suspended"}, "BackoffLimitExceeded", "JobSuspended")
		}},
		{"v1", "Pod", func(r gen, _, st map[string]any) {
			if r.IntN(8) > 0 {
				st["phase"] = r.pick("Pending", "Running", "Succeeded", "Failed")
			}
			r.conditions(st, []string{"Ready", "PodScheduled"}, "Unschedulable", "PodCompleted")
			for _, f := range []string{"containerStatuses", "initContainerStatuses"} {
				if r.IntN(3) == 0 {
					st[f] = []any{map[string]any{"name": "c", "state": map[string]any{"waiting": map[string]any{"reason": r.pick("CrashLoopBackOff", "ContainerCreating")}}}}
				}
			}
		}},
		{"v1", "PersistentVolumeClaim", func(r gen, _, st map[string]any) {
			if r.IntN(8) > 0 {
				st["phase"] = r.pick("Pending", "Bound", "Lost")
			}
		}},
		{"v1", "Service", func(r gen, spec, _ map[string]any) {
			spec["type"] = r.pick("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
			if r.IntN(2) == 0 {
				spec["clusterIP"] = "10.0.0.1"
			}
		}},
		{"apiextensions.k8s.io/v1", "CustomResourceDefinition", func(r gen, _, st map[string]any) {
			r.conditions(st, []string{"NamesAccepted", "Established"}, "Installing", "MultipleNamesNotAllowed", "InitialNamesAccepted")
		}},
		{"policy/v1", "PodDisruptionBudget", func(r gen, _, st map[string]any) {
			r.some(st, "currentHealthy", "desiredHealthy")
			if r.IntN(4) == 0 {
				st["observedGeneration"] = int64(1)
			}
		}},
		{"v1", "ConfigMap", func(gen, map[string]any, map[string]any) {}},
		{"batch/v1", "CronJob", func(gen, map[string]any, map[string]any) {}},
		{"example.com/v1", "Widget", func(r gen, _, st map[string]any) {
			r.conditions(st, []string{"Ready", "Other"}, "Done", "Working")
		}},
	}
}

// random makes an object of a kind with rules, in some state.
func random(rnd *rand.Rand) map[string]any {
	r := gen{rnd}
	all := shapes()
	s := all[r.IntN(len(all))]
	meta := map[string]any{"name": "x", "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"}
	spec, st := map[string]any{}, map[string]any{}
	s.fill(r, spec, st)
	if r.IntN(4) > 0 {
		meta["generation"] = int64(1 + r.IntN(8)/7)
	}
	if r.IntN(4) > 0 {
		st["observedGeneration"] = int64(1)
	}
	if r.IntN(30) == 0 {
		meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
	}
	if r.IntN(15) == 0 {
		list, _ := st["conditions"].([]any)
		st["conditions"] = append(list, map[string]any{"type": r.pick("Reconciling", "Stalled"), "status": r.pick("True", "True", "False"), "reason": "Because"})
	}
	o := map[string]any{"apiVersion": s.version, "kind": s.kind, "metadata": meta}
	if len(spec) > 0 {
		o["spec"] = spec
	}
	if len(st) > 0 {
		o["status"] = st
	}
	return o
}

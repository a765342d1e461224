// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"time"
)

// unschedulable is how long a pod may wait for a node before it counts as failed.
const unschedulable = 15 * time.Second

func (x obj) deployment() Result {
	deadline := nested(x.m, "spec", "progressDeadlineSeconds") != nil
	c, hasProgress := x.condition("Progressing")
	if hasProgress && c.reason == "ProgressDeadlineExceeded" {
		return failed("ProgressDeadlineExceeded", "progress deadline exceeded")
	}
	want := x.numberOr(1, "spec", "replicas")
	total := x.numberOr(0, "status", "replicas")
	updated := x.numberOr(0, "status", "updatedReplicas")
	ready := x.numberOr(0, "status", "readyReplicas")
	available := x.numberOr(0, "status", "availableReplicas")
	paused, _ := nested(x.m, "spec", "paused").(bool)
	if paused && total == want && available >= want && ready >= want {
		return current("Paused", "paused with all %d replicas available", want)
	}
	switch {
	case total < want:
		return progress("LessReplicas", "replicas: %d/%d", total, want)
	case updated < want:
		return progress("LessUpdated", "updated: %d/%d", updated, want)
	case total > updated:
		return progress("ExtraPods", "pending termination: %d", total-updated)
	case total > want:
		return progress("ExtraPods", "pending termination: %d", total-want)
	case available < updated:
		return progress("LessAvailable", "available: %d/%d", available, updated)
	case ready < want:
		return progress("LessReady", "ready: %d/%d", ready, want)
	case hasProgress && deadline && (c.status != "True" || c.reason != "NewReplicaSetAvailable"):
		return progress("NotProgressed", "ReplicaSet not available")
	case !hasProgress && deadline:
		return progress("NotProgressed", "ReplicaSet not available")
	}
	if _, ok := x.isTrue("Available"); !ok {
		return progress("NotAvailable", "Deployment not available")
	}
	return current("DeploymentReady", "Deployment is available. Replicas: %d", total)
}

func (x obj) statefulSet() Result {
	want := x.numberOr(1, "spec", "replicas")
	total := x.numberOr(0, "status", "replicas")
	ready := x.numberOr(0, "status", "readyReplicas")
	now := x.numberOr(0, "status", "currentReplicas")
	updated := x.numberOr(0, "status", "updatedReplicas")
	onDelete := x.text("spec", "updateStrategy", "type") == "OnDelete"
	if onDelete && x.o.CompatOnDelete {
		return current("StatefulSetOnDelete", "StatefulSet is using the ondelete update strategy")
	}
	switch {
	case total < want:
		return progress("LessReplicas", "replicas: %d/%d", total, want)
	case ready < want:
		return progress("LessReady", "ready: %d/%d", ready, want)
	case total > want:
		return progress("ExtraPods", "pending termination: %d", total-want)
	case onDelete:
		return current("StatefulSetOnDelete", "replicas: %d, updated: %d; pods are updated when they are deleted", total, updated)
	}
	if partition, ok := x.number("spec", "updateStrategy", "rollingUpdate", "partition"); ok && partition > 0 {
		if updated < want-partition {
			return progress("PartitionRollout", "updated: %d/%d", updated, want-partition)
		}
		return current("PartitionRolloutComplete", "partition rollout complete, updated: %d", updated)
	}
	if now < want {
		return progress("LessCurrent", "current: %d/%d", now, want)
	}
	if a, b := x.text("status", "currentRevision"), x.text("status", "updateRevision"); a != b {
		return progress("RevisionMismatch", "waiting for updated revision to match current")
	}
	return current("StatefulSetReady", "all replicas scheduled as expected. Replicas: %d", total)
}

func (x obj) daemonSet() Result {
	if _, ok := x.number("status", "observedGeneration"); !ok {
		return progress("NoObservedGeneration", "missing .status.observedGeneration")
	}
	want, ok := x.number("status", "desiredNumberScheduled")
	if !ok {
		return progress("NoDesiredNumber", "missing .status.desiredNumberScheduled")
	}
	now := x.numberOr(0, "status", "currentNumberScheduled")
	updated := x.numberOr(0, "status", "updatedNumberScheduled")
	available := x.numberOr(0, "status", "numberAvailable")
	ready := x.numberOr(0, "status", "numberReady")
	onDelete := x.text("spec", "updateStrategy", "type") == "OnDelete"
	switch {
	case now < want:
		return progress("LessCurrent", "current: %d/%d", now, want)
	case updated < want && !onDelete:
		return progress("LessUpdated", "updated: %d/%d", updated, want)
	case available < want:
		return progress("LessAvailable", "available: %d/%d", available, want)
	case ready < want:
		return progress("LessReady", "ready: %d/%d", ready, want)
	}
	return current("DaemonSetReady", "all replicas scheduled as expected. Replicas: %d", want)
}

func (x obj) replicaSet() Result {
	if c, ok := x.isTrue("ReplicaFailure"); ok {
		return progress(or(c.reason, "ReplicaFailure"), "%s", or(c.message, "replica failure"))
	}
	want := x.numberOr(1, "spec", "replicas")
	total := x.numberOr(0, "status", "replicas")
	for _, f := range [...]struct{ field, reason, text string }{
		{"fullyLabeledReplicas", "LessLabelled", "labelled"},
		{"availableReplicas", "LessAvailable", "available"},
		{"readyReplicas", "LessReady", "ready"},
	} {
		if n := x.numberOr(0, "status", f.field); n < want {
			return progress(f.reason, "%s: %d/%d", f.text, n, want)
		}
	}
	if total > want {
		return progress("ExtraPods", "pending termination: %d", total-want)
	}
	return current("ReplicaSetReady", "ReplicaSet is available. Replicas: %d", total)
}

func (x obj) job() Result {
	if c, ok := x.isTrue("Failed"); ok {
		return failed("JobFailed", "job failed: %s", or(c.message, c.reason))
	}
	if _, ok := x.isTrue("Complete"); ok {
		return current("JobComplete", "job completed. Succeeded: %d", x.numberOr(0, "status", "succeeded"))
	}
	if suspended, _ := nested(x.m, "spec", "suspend").(bool); suspended {
		return current("JobSuspended", "job is suspended")
	}
	if x.text("status", "startTime") == "" {
		return progress("JobNotStarted", "job not started")
	}
	return progress("JobInProgress", "job in progress. Active: %d, succeeded: %d, failed: %d",
		x.numberOr(0, "status", "active"), x.numberOr(0, "status", "succeeded"), x.numberOr(0, "status", "failed"))
}

func (x obj) pod() Result {
	switch phase := x.text("status", "phase"); phase {
	case "Succeeded":
		return current("PodSucceeded", "pod has completed successfully")
	case "Failed":
		if x.o.CompatPodFailed {
			return current("PodFailed", "pod has completed, but not successfully")
		}
		return failed("PodFailed", "pod failed: %s", or(x.text("status", "message"), x.text("status", "reason")))
	case "Running":
		if _, ok := x.isTrue("Ready"); ok {
			return current("PodReady", "pod is ready")
		}
		if name := x.crashing(); name != "" {
			return failed("ContainerCrashLooping", "containers in CrashLoop state: %s", name)
		}
		return progress("PodNotReady", "pod is running but is not ready")
	case "Pending":
		if c, ok := x.condition("PodScheduled"); ok && c.status == "False" && c.reason == "Unschedulable" {
			if x.age() > unschedulable {
				return failed("PodUnschedulable", "pod could not be scheduled: %s", c.message)
			}
			return progress("PodUnscheduled", "pod has not been scheduled: %s", c.message)
		}
		if name := x.crashing(); name != "" {
			return failed("ContainerCrashLooping", "containers in CrashLoop state: %s", name)
		}
		return progress("PodPending", "pod is in the Pending phase")
	case "":
		return progress("PodNotObserved", "pod phase not available")
	default:
		return Result{Unknown, "PodPhase", "unknown phase " + phase}
	}
}

// age is the time since the object was created, as far as Options.Now tells.
func (x obj) age() time.Duration {
	at, err := time.Parse(time.RFC3339, x.text("metadata", "creationTimestamp"))
	if err != nil || x.o.Now.IsZero() {
		return 0
	}
	return x.o.Now.Sub(at)
}

// crashing names a container that crashes again and again.
func (x obj) crashing() string {
	for _, field := range [...]string{"containerStatuses", "initContainerStatuses"} {
		list, _ := nested(x.m, "status", field).([]any)
		for _, c := range list {
			m, ok := c.(map[string]any)
			if ok && nested(m, "state", "waiting", "reason") == "CrashLoopBackOff" {
				name, _ := m["name"].(string)
				return or(name, "unknown")
			}
		}
	}
	return ""
}

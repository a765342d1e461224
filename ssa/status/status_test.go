// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/ssa/status"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/yaml"
)

func parse(t testing.TB, text string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func object(apiVersion, kind, rest string) string {
	return "apiVersion: " + apiVersion + "\nkind: " + kind + "\n" + rest
}

const doneConditions = "conditions: [{type: Available, status: 'True'}, {type: Progressing, status: 'True', reason: NewReplicaSetAvailable}]"

// SSA-78
func TestCompute(t *testing.T) {
	deploy := func(spec, st string) string {
		return object("apps/v1", "Deployment", "metadata: {generation: 2}\nspec: {progressDeadlineSeconds: 600, "+spec+"}\nstatus: {observedGeneration: 2, "+st+"}\n")
	}
	sts := func(spec, st string) string {
		return object("apps/v1", "StatefulSet", "spec: {"+spec+"}\nstatus: {"+st+"}\n")
	}
	cases := map[string]struct {
		text, want, reason string
		o                  status.Options
	}{
		"Terminating":          {object("v1", "ConfigMap", "metadata: {deletionTimestamp: now}"), "Terminating", "Terminating", status.Options{}},
		"Generation":           {object("x/v1", "X", "metadata: {generation: 3}\nstatus: {observedGeneration: 2, conditions: [{type: Ready, status: 'True'}]}"), "InProgress", "LatestGenerationNotObserved", status.Options{}},
		"Reconciling":          {object("x/v1", "X", "status: {conditions: [{type: Reconciling, status: 'True', reason: Going}, {type: Stalled, status: 'True'}]}"), "InProgress", "Going", status.Options{}},
		"Stalled":              {object("x/v1", "X", "status: {conditions: [{type: Stalled, status: 'True', reason: Stuck}]}"), "Failed", "Stuck", status.Options{}},
		"Ready":                {object("x/v1", "X", "status: {conditions: [{type: Ready, status: 'True'}]}"), "Current", "Ready", status.Options{}},
		"NotReady":             {object("x/v1", "X", "status: {conditions: [{type: Ready, status: 'False', reason: Nope}]}"), "InProgress", "Nope", status.Options{}},
		"NoStatus":             {object("x/v1", "X", ""), "Current", "NoStatus", status.Options{}},
		"ConfigMap":            {object("v1", "ConfigMap", ""), "Current", "NoStatus", status.Options{}},
		"Deployment":           {deploy("replicas: 2", "replicas: 2, updatedReplicas: 2, readyReplicas: 2, availableReplicas: 2, "+doneConditions), "Current", "DeploymentReady", status.Options{}},
		"DeploymentDefault":    {deploy("paused: false", "replicas: 1, updatedReplicas: 1, readyReplicas: 1, availableReplicas: 1, "+doneConditions), "Current", "DeploymentReady", status.Options{}},
		"DeploymentLess":       {deploy("replicas: 2", "replicas: 1, updatedReplicas: 1, readyReplicas: 1, availableReplicas: 1, "+doneConditions), "InProgress", "LessReplicas", status.Options{}},
		"DeploymentOld":        {deploy("replicas: 2", "replicas: 3, updatedReplicas: 2, readyReplicas: 3, availableReplicas: 3, "+doneConditions), "InProgress", "ExtraPods", status.Options{}},
		"DeploymentScaledDown": {deploy("replicas: 1", "replicas: 2, updatedReplicas: 2, readyReplicas: 2, availableReplicas: 2, "+doneConditions), "InProgress", "ExtraPods", status.Options{}},
		"DeploymentUpdating":   {deploy("replicas: 2", "replicas: 2, updatedReplicas: 1, readyReplicas: 2, availableReplicas: 2, "+doneConditions), "InProgress", "LessUpdated", status.Options{}},
		"DeploymentNotAvail":   {deploy("replicas: 2", "replicas: 2, updatedReplicas: 2, readyReplicas: 2, availableReplicas: 1, "+doneConditions), "InProgress", "LessAvailable", status.Options{}},
		"DeploymentDeadline":   {deploy("replicas: 2", "conditions: [{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded}]"), "Failed", "ProgressDeadlineExceeded", status.Options{}},
		"DeploymentRolling":    {deploy("replicas: 1", "replicas: 1, updatedReplicas: 1, readyReplicas: 1, availableReplicas: 1, conditions: [{type: Available, status: 'True'}, {type: Progressing, status: 'True', reason: ReplicaSetUpdated}]"), "InProgress", "NotProgressed", status.Options{}},
		"DeploymentPaused":     {deploy("replicas: 1, paused: true", "replicas: 1, readyReplicas: 1, availableReplicas: 1, conditions: [{type: Available, status: 'True'}, {type: Progressing, status: Unknown, reason: DeploymentPaused}]"), "Current", "Paused", status.Options{}},
		"StatefulSet":          {sts("replicas: 2", "replicas: 2, readyReplicas: 2, currentReplicas: 2, currentRevision: a, updateRevision: a"), "Current", "StatefulSetReady", status.Options{}},
		"StatefulSetRevision":  {sts("replicas: 2", "replicas: 2, readyReplicas: 2, currentReplicas: 2, currentRevision: a, updateRevision: b"), "InProgress", "RevisionMismatch", status.Options{}},
		"StatefulSetPartition": {sts("replicas: 3, updateStrategy: {rollingUpdate: {partition: 1}}", "replicas: 3, readyReplicas: 3, updatedReplicas: 2"), "Current", "PartitionRolloutComplete", status.Options{}},
		"StatefulSetPart":      {sts("replicas: 3, updateStrategy: {rollingUpdate: {partition: 1}}", "replicas: 3, readyReplicas: 3, updatedReplicas: 1"), "InProgress", "PartitionRollout", status.Options{}},
		"StatefulSetOnDelete":  {sts("replicas: 2, updateStrategy: {type: OnDelete}", "replicas: 2, readyReplicas: 1"), "InProgress", "LessReady", status.Options{}},
		"StatefulSetCompat":    {sts("replicas: 2, updateStrategy: {type: OnDelete}", "replicas: 2, readyReplicas: 1"), "Current", "StatefulSetOnDelete", status.Options{CompatOnDelete: true}},
		"DaemonSet":            {object("apps/v1", "DaemonSet", "status: {observedGeneration: 1, desiredNumberScheduled: 1, currentNumberScheduled: 1, updatedNumberScheduled: 1, numberAvailable: 1, numberReady: 1}"), "Current", "DaemonSetReady", status.Options{}},
		"DaemonSetNew":         {object("apps/v1", "DaemonSet", ""), "InProgress", "NoObservedGeneration", status.Options{}},
		"DaemonSetOnDelete":    {object("apps/v1", "DaemonSet", "spec: {updateStrategy: {type: OnDelete}}\nstatus: {observedGeneration: 1, desiredNumberScheduled: 1, currentNumberScheduled: 1, numberAvailable: 1, numberReady: 1}"), "Current", "DaemonSetReady", status.Options{}},
		"ReplicaSet":           {object("apps/v1", "ReplicaSet", "status: {replicas: 1, fullyLabeledReplicas: 1, availableReplicas: 1, readyReplicas: 1}"), "Current", "ReplicaSetReady", status.Options{}},
		"ReplicaSetFailure":    {object("apps/v1", "ReplicaSet", "status: {conditions: [{type: ReplicaFailure, status: 'True', reason: Quota}]}"), "InProgress", "Quota", status.Options{}},
		"JobComplete":          {object("batch/v1", "Job", "status: {conditions: [{type: Complete, status: 'True'}]}"), "Current", "JobComplete", status.Options{}},
		"JobFailed":            {object("batch/v1", "Job", "status: {conditions: [{type: Failed, status: 'True'}]}"), "Failed", "JobFailed", status.Options{}},
		"JobRunning":           {object("batch/v1", "Job", "status: {startTime: now, active: 1}"), "InProgress", "JobInProgress", status.Options{}},
		"JobSuspended":         {object("batch/v1", "Job", "spec: {suspend: true}"), "Current", "JobSuspended", status.Options{}},
		"PodReady":             {object("v1", "Pod", "status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}"), "Current", "PodReady", status.Options{}},
		"PodDone":              {object("v1", "Pod", "status: {phase: Succeeded}"), "Current", "PodSucceeded", status.Options{}},
		"PodFailed":            {object("v1", "Pod", "status: {phase: Failed}"), "Failed", "PodFailed", status.Options{}},
		"PodFailedCompat":      {object("v1", "Pod", "status: {phase: Failed}"), "Current", "PodFailed", status.Options{CompatPodFailed: true}},
		"PodCrashing":          {object("v1", "Pod", "status: {phase: Running, containerStatuses: [{name: c, state: {waiting: {reason: CrashLoopBackOff}}}]}"), "Failed", "ContainerCrashLooping", status.Options{}},
		"PodUnscheduled":       {object("v1", "Pod", "metadata: {creationTimestamp: '2026-01-01T00:00:00Z'}\nstatus: {phase: Pending, conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable}]}"), "InProgress", "PodUnscheduled", status.Options{Now: time.Date(2026, 1, 1, 0, 0, 10, 0, time.UTC)}},
		"PodUnschedulable":     {object("v1", "Pod", "metadata: {creationTimestamp: '2026-01-01T00:00:00Z'}\nstatus: {phase: Pending, conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable}]}"), "Failed", "PodUnschedulable", status.Options{Now: time.Date(2026, 1, 1, 0, 1, 0, 0, time.UTC)}},
		"ClaimBound":           {object("v1", "PersistentVolumeClaim", "status: {phase: Bound}"), "Current", "Bound", status.Options{}},
		"ClaimLost":            {object("v1", "PersistentVolumeClaim", "status: {phase: Lost}"), "Failed", "Lost", status.Options{}},
		"ClaimWaiting":         {object("v1", "PersistentVolumeClaim", "status: {phase: Pending}"), "Current", "WaitingForConsumer", status.Options{BindingMode: func(string) (string, bool) { return "WaitForFirstConsumer", true }}},
		"ClaimUnknownClass":    {object("v1", "PersistentVolumeClaim", "status: {phase: Pending}"), "InProgress", "NotBound", status.Options{BindingMode: func(string) (string, bool) { return "", false }}},
		"Service":              {object("v1", "Service", "spec: {type: ClusterIP}"), "Current", "ServiceReady", status.Options{}},
		"LoadBalancer":         {object("v1", "Service", "spec: {type: LoadBalancer}"), "InProgress", "NoIPAssigned", status.Options{}},
		"CRD":                  {object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "status: {conditions: [{type: Established, status: 'True'}]}"), "Current", "Established", status.Options{}},
		"CRDNames":             {object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "status: {conditions: [{type: NamesAccepted, status: 'False', reason: Taken}]}"), "Failed", "Taken", status.Options{}},
		"CRDInstalling":        {object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "status: {conditions: [{type: Established, status: 'False', reason: Installing}]}"), "InProgress", "Installing", status.Options{}},
		"APIService":           {object("apiregistration.k8s.io/v1", "APIService", "status: {conditions: [{type: Available, status: 'False', reason: Down}]}"), "InProgress", "Down", status.Options{}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := status.Compute(parse(t, tc.text), tc.o)
			NewWithT(t).Expect([]string{string(got.Status), got.Reason}).To(Equal([]string{tc.want, tc.reason}), got.Message)
		})
	}
}

func FuzzCompute(f *testing.F) {
	f.Add(`{"apiVersion":"apps/v1","kind":"Deployment","spec":{"replicas":2},"status":{"conditions":[{"type":"Ready"}]}}`, "Deployment")
	f.Add(`{"metadata":{"generation":1.5},"status":{"observedGeneration":"x","conditions":{}}}`, "Pod")
	f.Fuzz(func(t *testing.T, text, kind string) {
		var m map[string]any
		if json.Unmarshal([]byte(text), &m) != nil || m == nil {
			return
		}
		for _, v := range []string{"v1", "apps/v1", "batch/v1", "apiextensions.k8s.io/v1"} {
			m["apiVersion"], m["kind"] = v, kind
			if r := status.Compute(m, status.Options{Now: time.Now()}); r.Status == "" || len(r.Message) > 1024 {
				t.Fatalf("%+v", r)
			}
		}
	})
}

func ExampleCompute() {
	job := map[string]any{"apiVersion": "batch/v1", "kind": "Job", "status": map[string]any{
		"succeeded": int64(1), "conditions": []any{map[string]any{"type": "Complete", "status": "True"}},
	}}
	r := status.Compute(job, status.Options{})
	fmt.Println(r.Status, r.Message)
	// Output: Current job completed. Succeeded: 1
}

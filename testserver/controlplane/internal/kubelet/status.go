// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// fate is what the annotations of a pod ask for.
type fate struct {
	after    time.Duration
	fail     string
	exitCode int32
	ends     bool // containers may end: the restart policy is not Always
	restarts bool // a container that ended with an error is started again
}

func fateOf(pod *corev1.Pod) fate {
	f := fate{
		fail:     pod.Annotations[Fail],
		ends:     pod.Spec.RestartPolicy != corev1.RestartPolicyAlways,
		restarts: pod.Spec.RestartPolicy != corev1.RestartPolicyNever,
	}
	if d, err := time.ParseDuration(pod.Annotations[ReadyAfter]); err == nil && d > 0 {
		f.after = d
	}
	if code, err := strconv.ParseInt(pod.Annotations[ExitCode], 10, 32); err == nil && code != 0 {
		f.exitCode = int32(code)
		if f.fail == "" {
			f.fail = "exit"
		}
	}
	if (f.fail == "exit" || f.fail == "crash") && f.exitCode == 0 {
		f.exitCode = 1
	}
	if f.fail == "exit" && f.restarts {
		f.fail = "crash"
	}
	return f
}

// next computes the status of a bound pod at the time now, and after which
// time it will change by itself, 0 for never.
func next(pod *corev1.Pod, now time.Time, ip string) (corev1.PodStatus, time.Duration) {
	s := *pod.Status.DeepCopy()
	start := now
	if s.StartTime != nil {
		start = s.StartTime.Time
	} else {
		s.StartTime = ptr.To(metav1.NewTime(now))
	}
	f := fateOf(pod)
	s.ObservedGeneration = pod.Generation
	s.HostIP, s.HostIPs = address, []corev1.HostIP{{IP: address}}
	s.PodIP, s.PodIPs = ip, []corev1.PodIP{{IP: ip}}

	var again time.Duration
	if rest := f.after - now.Sub(start); rest > 0 {
		again = rest
	}
	waiting := again > 0
	b := builder{pod: pod, status: &s, now: metav1.NewTime(now), start: metav1.NewTime(start)}
	switch {
	case f.fail == "image":
		b.phase(corev1.PodPending, false)
		b.containers(waitingState("ImagePullBackOff", "the image cannot be pulled"), false)
	case waiting, f.fail == "never-ready":
		b.phase(corev1.PodRunning, false)
		b.containers(b.runningState(), false)
	case f.fail == "crash":
		b.phase(corev1.PodRunning, false)
		b.crashed(f.exitCode)
	case f.fail == "exit":
		b.phase(corev1.PodFailed, false)
		b.containers(b.terminatedState(f.exitCode), false)
	case f.ends:
		b.phase(corev1.PodSucceeded, false)
		b.containers(b.terminatedState(0), false)
	default:
		b.phase(corev1.PodRunning, true)
		b.containers(b.runningState(), true)
	}
	return s, again
}

type builder struct {
	pod        *corev1.Pod
	status     *corev1.PodStatus
	now, start metav1.Time
}

// phase sets the phase and the conditions that follow from it.
func (b *builder) phase(phase corev1.PodPhase, ready bool) {
	b.status.Phase = phase
	reason, message := "", ""
	switch {
	case phase == corev1.PodSucceeded || phase == corev1.PodFailed:
		reason = "PodCompleted"
		if phase == corev1.PodFailed {
			reason = "PodFailed"
		}
	case !ready:
		reason, message = "ContainersNotReady", "containers are not ready"
	}
	b.condition(corev1.PodReadyToStartContainers, phase == corev1.PodRunning, "", "")
	b.condition(corev1.PodInitialized, phase != corev1.PodPending || len(b.pod.Spec.InitContainers) == 0, "", "")
	b.condition(corev1.ContainersReady, ready, reason, message)
	if ready && !b.gatesOpen() {
		ready, reason, message = false, "ReadinessGatesNotReady", "a readiness gate is not True"
	}
	b.condition(corev1.PodReady, ready, reason, message)
}

// gatesOpen says whether the conditions named by the pod's readiness gates,
// which other controllers write, are all True.
func (b *builder) gatesOpen() bool {
	for _, gate := range b.pod.Spec.ReadinessGates {
		open := false
		for _, c := range b.status.Conditions {
			open = open || c.Type == gate.ConditionType && c.Status == corev1.ConditionTrue
		}
		if !open {
			return false
		}
	}
	return true
}

func (b *builder) condition(t corev1.PodConditionType, is bool, reason, message string) {
	want := corev1.PodCondition{
		Type: t, Status: corev1.ConditionFalse, Reason: reason, Message: message,
		ObservedGeneration: b.pod.Generation, LastTransitionTime: b.now,
	}
	if is {
		want.Status, want.Reason, want.Message = corev1.ConditionTrue, "", ""
	}
	for i, c := range b.status.Conditions {
		if c.Type == t {
			if c.Status == want.Status {
				want.LastTransitionTime = c.LastTransitionTime
			}
			b.status.Conditions[i] = want
			return
		}
	}
	b.status.Conditions = append(b.status.Conditions, want)
}

func waitingState(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

func (b *builder) runningState() corev1.ContainerState {
	return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: b.start}}
}

func (b *builder) terminatedState(code int32) corev1.ContainerState {
	reason := "Completed"
	if code != 0 {
		reason = "Error"
	}
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: code, Reason: reason, StartedAt: b.start, FinishedAt: b.now,
	}}
}

// crashed gives every container the state between two starts.
func (b *builder) crashed(code int32) {
	if len(b.status.ContainerStatuses) > 0 && b.status.ContainerStatuses[0].RestartCount > 0 {
		return // written once: the restarts are not played one by one
	}
	b.containers(waitingState("CrashLoopBackOff", "restarting the failed container"), false)
	for i := range b.status.ContainerStatuses {
		c := &b.status.ContainerStatuses[i]
		c.RestartCount = 1
		c.LastTerminationState = b.terminatedState(code)
		c.LastTerminationState.Terminated.ContainerID = c.ContainerID
	}
}

// containers sets the status of all containers: regular ones to state, init
// containers to done, or to running if they are sidecars.
func (b *builder) containers(state corev1.ContainerState, ready bool) {
	pending := b.status.Phase == corev1.PodPending
	over := b.status.Phase == corev1.PodSucceeded || b.status.Phase == corev1.PodFailed
	var regular, initial, ephemeral []corev1.ContainerStatus
	for _, c := range b.pod.Spec.Containers {
		regular = append(regular, b.container(c.Name, c.Image, state, ready))
	}
	for _, c := range b.pod.Spec.InitContainers {
		sidecar := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		switch {
		case pending:
			initial = append(initial, b.container(c.Name, c.Image, state, false))
		case sidecar && !over:
			initial = append(initial, b.container(c.Name, c.Image, b.runningState(), true))
		default:
			initial = append(initial, b.container(c.Name, c.Image, b.terminatedState(0), true))
		}
	}
	for _, c := range b.pod.Spec.EphemeralContainers {
		ephemeral = append(ephemeral, b.container(c.Name, c.Image, state, false))
	}
	b.status.ContainerStatuses = merge(b.status.ContainerStatuses, regular)
	b.status.InitContainerStatuses = merge(b.status.InitContainerStatuses, initial)
	b.status.EphemeralContainerStatuses = merge(b.status.EphemeralContainerStatuses, ephemeral)
}

func (b *builder) container(name, image string, state corev1.ContainerState, ready bool) corev1.ContainerStatus {
	c := corev1.ContainerStatus{
		Name: name, Image: image, State: state, Ready: ready,
		Started: ptr.To(state.Running != nil),
	}
	if state.Waiting == nil || state.Waiting.Reason == "CrashLoopBackOff" {
		c.ImageID = image
		c.ContainerID = "none://" + string(b.pod.UID) + "/" + name
	}
	return c
}

// merge keeps the states that have not changed in kind, with their times.
func merge(old, want []corev1.ContainerStatus) []corev1.ContainerStatus {
	for i := range want {
		for _, o := range old {
			if o.Name != want[i].Name {
				continue
			}
			if o.State.Running != nil && want[i].State.Running != nil ||
				o.State.Terminated != nil && want[i].State.Terminated != nil {
				want[i].State = o.State
			}
			want[i].RestartCount, want[i].LastTerminationState = o.RestartCount, o.LastTerminationState
		}
	}
	return want
}

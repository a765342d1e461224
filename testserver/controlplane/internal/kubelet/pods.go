// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

const (
	podWorkers  = 8
	podRetryMin = 20 * time.Millisecond
	podRetryMax = 5 * time.Second
)

type podQueue = workqueue.TypedRateLimitingInterface[cache.ObjectName]

// runPods writes the status of bound pods until ctx ends.
func (k *Kubelet) runPods(ctx context.Context, running *sync.WaitGroup) error {
	factory := informers.NewSharedInformerFactoryWithOptions(k.client, 0,
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermNotEqualSelector("spec.nodeName", "").String()
		}))
	pods := factory.Core().V1().Pods()
	queue := workqueue.NewTypedRateLimitingQueue(
		workqueue.NewTypedItemExponentialFailureRateLimiter[cache.ObjectName](podRetryMin, podRetryMax))
	enqueue := func(obj any) {
		if p, ok := obj.(*corev1.Pod); ok && k.owns(p.Spec.NodeName) {
			queue.Add(cache.ObjectName{Namespace: p.Namespace, Name: p.Name})
		}
	}
	handler, err := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    enqueue,
		UpdateFunc: func(_, obj any) { enqueue(obj) },
	})
	if err != nil {
		return err
	}
	factory.StartWithContext(ctx)
	if cache.WaitForCacheSync(ctx.Done(), handler.HasSynced) {
		close(k.ready)
	}
	for range podWorkers {
		running.Go(func() {
			for k.nextPod(ctx, queue, pods.Lister()) {
			}
		})
	}
	<-ctx.Done()
	queue.ShutDown()
	factory.Shutdown()
	return nil
}

func (k *Kubelet) nextPod(ctx context.Context, queue podQueue, pods corelisters.PodLister) bool {
	key, quit := queue.Get()
	if quit {
		return false
	}
	defer queue.Done(key)
	pod, err := pods.Pods(key.Namespace).Get(key.Name)
	if err != nil {
		queue.Forget(key)
		return true
	}
	again, err := k.syncPod(ctx, pod)
	switch {
	case err == nil, apierrors.IsNotFound(err):
		queue.Forget(key)
	case apierrors.IsConflict(err): // the next event brings the newer pod
		queue.AddRateLimited(key)
	default:
		if ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Syncing pod", "pod", key)
		}
		queue.AddRateLimited(key)
	}
	if again > 0 {
		queue.AddAfter(key, again)
	}
	return true
}

// syncPod brings the pod's status up to date, and returns after which time to
// look again when nothing else happens.
func (k *Kubelet) syncPod(ctx context.Context, pod *corev1.Pod) (time.Duration, error) {
	pods := k.client.CoreV1().Pods(pod.Namespace)
	if pod.DeletionTimestamp != nil {
		return 0, pods.Delete(ctx, pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: new(int64),
			Preconditions:      metav1.NewUIDPreconditions(string(pod.UID)),
		})
	}
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return 0, nil
	}
	status, again := next(pod, time.Now(), k.podIP(pod))
	if equality.Semantic.DeepEqual(pod.Status, status) {
		return again, nil
	}
	updated := pod.DeepCopy()
	updated.Status = status
	_, err := pods.UpdateStatus(ctx, updated, metav1.UpdateOptions{})
	return again, err
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package component

import (
	"context"
	"errors"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/namespace/deletion"
)

const (
	// namespaceDelay stands for the five seconds with which the original
	// controller lets the members of a highly available cluster catch up.
	namespaceDelay = 50 * time.Millisecond
	// namespaceRetry is the pause while content remains.
	namespaceRetry   = 100 * time.Millisecond
	namespaceWorkers = 10
	// namespaceMaxRetry bounds the backoff after errors.
	namespaceMaxRetry = 5 * time.Second
)

// RunNamespaces deletes the content of terminating namespaces until ctx ends:
// the deletion code of Kubernetes behind a queue with short delays.
func RunNamespaces(ctx context.Context, config *rest.Config) error {
	config = rest.AddUserAgent(config, "namespace-controller")
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	meta, err := metadata.NewForConfig(config)
	if err != nil {
		return err
	}
	deleter := deletion.NewNamespacedResourcesDeleter(ctx, client.CoreV1().Namespaces(), meta, client.CoreV1(),
		client.Discovery().ServerPreferredNamespacedResources, corev1.FinalizerKubernetes)
	queue := workqueue.NewTypedRateLimitingQueue(
		workqueue.NewTypedItemExponentialFailureRateLimiter[string](namespaceRetry, namespaceMaxRetry))
	factory := informers.NewSharedInformerFactory(client, 0)
	informer := factory.Core().V1().Namespaces().Informer()
	enqueue := func(obj any) {
		if ns, ok := obj.(*corev1.Namespace); ok && ns.DeletionTimestamp != nil {
			queue.AddAfter(ns.Name, namespaceDelay)
		}
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    enqueue,
		UpdateFunc: func(_, obj any) { enqueue(obj) },
	}); err != nil {
		return err
	}
	factory.StartWithContext(ctx)
	var workers sync.WaitGroup
	for range namespaceWorkers {
		workers.Go(func() {
			for deleteNamespace(ctx, queue, deleter) {
			}
		})
	}
	<-ctx.Done()
	queue.ShutDown()
	workers.Wait()
	factory.Shutdown()
	return nil
}

func deleteNamespace(ctx context.Context, queue workqueue.TypedRateLimitingInterface[string], deleter deletion.NamespacedResourcesDeleterInterface) bool {
	name, quit := queue.Get()
	if quit {
		return false
	}
	defer queue.Done(name)
	err := deleter.Delete(ctx, name)
	var remaining *deletion.ResourcesRemainingError
	switch {
	case err == nil:
		queue.Forget(name)
	case errors.As(err, &remaining):
		queue.Forget(name)
		queue.AddAfter(name, namespaceRetry)
	default:
		if ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Deletion of namespace failed", "namespace", name)
		}
		queue.AddRateLimited(name)
	}
	return true
}

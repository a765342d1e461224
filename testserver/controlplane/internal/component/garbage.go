// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package component

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/controller-manager/pkg/informerfactory"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
)

const (
	// gcSync is how often the collector looks for new kinds; the original
	// looks every thirty seconds.
	gcSync    = time.Second
	gcWorkers = 10
	// gcInitialSync bounds the wait for the first fill of the caches.
	gcInitialSync = 10 * time.Second
)

// RunGarbageCollector runs the garbage collector of Kubernetes until ctx
// ends, with a short interval between looks at discovery.
func RunGarbageCollector(ctx context.Context, config *rest.Config) error {
	config = rest.AddUserAgent(config, "generic-garbage-collector")
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	meta, err := metadata.NewForConfig(config)
	if err != nil {
		return err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery()))
	ignored := map[schema.GroupResource]struct{}{}
	for r := range garbagecollector.DefaultIgnoredResources() {
		ignored[r] = struct{}{}
	}
	typed := informers.NewSharedInformerFactory(client, 0)
	objects := metadatainformer.NewSharedInformerFactory(meta, 0)
	started := make(chan struct{})
	collector, err := garbagecollector.NewGarbageCollector(ctx, client, meta, mapper, ignored,
		informerfactory.NewInformerFactory(typed, objects), started)
	if err != nil {
		return err
	}
	typed.StartWithContext(ctx)
	objects.Start(ctx.Done())
	close(started)
	var running sync.WaitGroup
	running.Go(func() { collector.Run(ctx, gcWorkers, gcInitialSync) })
	running.Go(func() { collector.Sync(ctx, client.Discovery(), gcSync) })
	running.Wait()
	return nil
}

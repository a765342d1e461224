// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubelet plays the machines of a cluster: nodes with leases, and
// pods that become ready without a container being run.
//
// A pod bound to one of its nodes gets the status that a kubelet would write
// once everything went well: Running and Ready, or Succeeded when its restart
// policy lets it end. Annotations on the pod choose other fates, see
// [ReadyAfter], [Fail] and [ExitCode].
package kubelet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Annotations of a pod, usually set in a pod template.
const (
	prefix = "kubelet.gitops-kit.github.io/"
	// ReadyAfter is the time from the pod's binding until it is ready, or
	// until it ends when its restart policy lets it; a Go duration.
	ReadyAfter = prefix + "ready-after"
	// Fail is "image" (the image cannot be pulled), "crash" (containers end
	// and are restarted without end), "exit" (containers end with ExitCode)
	// or "never-ready" (containers run, the pod does not become ready).
	Fail = prefix + "fail"
	// ExitCode is the code with which containers end. A code other than
	// zero implies Fail "exit".
	ExitCode = prefix + "exit-code"
)

// Options of a [Kubelet].
type Options struct {
	// Config is the API server to work for.
	Config *rest.Config
	// Nodes is how many nodes to play.
	Nodes int
	// Version is reported as the nodes' kubelet version.
	Version string
	// CertFile and KeyFile serve the nodes' own API.
	CertFile, KeyFile string
}

// Kubelet plays all nodes of a cluster.
type Kubelet struct {
	client   kubernetes.Interface
	opts     Options
	listener net.Listener
	nodes    []string
	ready    chan struct{}

	mu     sync.Mutex
	nextIP uint32
}

// New prepares a Kubelet; [Kubelet.Run] starts it.
func New(o Options) (*Kubelet, error) {
	client, err := kubernetes.NewForConfig(rest.AddUserAgent(o.Config, "kubelet"))
	if err != nil {
		return nil, err
	}
	k := &Kubelet{client: client, opts: o, ready: make(chan struct{})}
	for i := range o.Nodes {
		k.nodes = append(k.nodes, fmt.Sprintf("node-%d", i+1))
	}
	return k, nil
}

// Ready is closed when all nodes are registered and pods are watched.
func (k *Kubelet) Ready() <-chan struct{} { return k.ready }

// Run plays the nodes until ctx ends.
func (k *Kubelet) Run(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	k.listener = listener
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	running.Go(func() { k.serve(ctx) })
	if err := k.registerAll(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	for _, name := range k.nodes {
		running.Go(func() { k.renew(ctx, name) })
	}
	return k.runPods(ctx, &running)
}

func (k *Kubelet) registerAll(ctx context.Context) error {
	errs := make([]error, len(k.nodes))
	var all sync.WaitGroup
	for i, name := range k.nodes {
		all.Go(func() {
			if err := k.register(ctx, name, i); err != nil {
				errs[i] = fmt.Errorf("register node %q: %w", name, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// address is the node address under which the API server reaches the nodes'
// own API; it is this machine's loopback address.
const address = "127.0.0.1"

// podIP returns an address that no other pod of this run has.
func (k *Kubelet) podIP(pod *corev1.Pod) string {
	if pod.Status.PodIP != "" {
		return pod.Status.PodIP
	}
	if pod.Spec.HostNetwork {
		return address
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.nextIP++
	n := k.nextIP
	return fmt.Sprintf("10.%d.%d.%d", 128+n>>16&0x7f, n>>8&0xff, n&0xff)
}

func (k *Kubelet) owns(node string) bool {
	for _, n := range k.nodes {
		if n == node {
			return true
		}
	}
	return false
}

// leaseSeconds is the lifetime of a node's lease, renewed every renewEvery.
const (
	leaseSeconds = 40
	renewEvery   = 10 * time.Second
)

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/gitops-kit/sdk/runtime/client"
	"github.com/gitops-kit/sdk/runtime/probes"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	ctrlmanager "sigs.k8s.io/controller-runtime/pkg/manager"
)

// ErrLeaseLost ends the process when another one may have taken over.
var ErrLeaseLost = errors.New("leader election lost")

// LeaseName is the name of a controller's lease; shards have their own.
func LeaseName(controller, selector string) string {
	name := controller + "-leader-election"
	if selector != "" {
		sum := sha256.Sum256([]byte(selector))
		name += "-" + hex.EncodeToString(sum[:4])
	}
	return name
}

// leases knows until when the process may write.
type leases struct {
	deadline time.Duration
	lost     context.CancelCauseFunc

	mu      sync.Mutex
	renewed map[string]time.Time // of leases that are held
}

func newLeases(deadline time.Duration) *leases {
	return &leases{deadline: deadline, renewed: map[string]time.Time{}}
}

// fence refuses writes when a held lease was not renewed for the renew deadline,
// by the monotonic or by the wall clock: a process that was paused notices.
func (l *leases) fence() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for _, at := range l.renewed {
		if now.Sub(at) > l.deadline || now.Round(0).Sub(at.Round(0)) > l.deadline {
			return &client.FencedError{}
		}
	}
	return nil
}

func (l *leases) renew(name string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewed[name] = at
}

// lease elects one controller and runs what needs the election.
type lease struct {
	name   string
	config leaderelection.LeaderElectionConfig
	leases *leases
	lock   func() (resourcelock.Interface, error) // making it may contact the server

	mu      sync.Mutex
	waiting []ctrlmanager.Runnable
	start   func(ctrlmanager.Runnable)
}

// lease returns the lease of a controller, nil without leader election.
func (p *process) lease(b *boot) *lease {
	f := b.groups.election
	if !f.Enable {
		return nil
	}
	l := &lease{name: LeaseName(b.o.Name, b.groups.watch.Selector), leases: p.leases}
	l.config = leaderelection.LeaderElectionConfig{
		LeaseDuration: f.LeaseDuration, RenewDeadline: f.RenewDeadline, RetryPeriod: f.RetryPeriod,
		ReleaseOnCancel: f.ReleaseOnCancel, Name: l.name,
	}
	l.lock = func() (resourcelock.Interface, error) { return p.lock(b.o.Namespace, l.name, f.RenewDeadline) }
	return l
}

// NeedLeaderElection implements the manager's optional interface.
func (l *lease) NeedLeaderElection() bool { return false }

// Start elects until ctx is done. Losing the lease cancels the process.
func (l *lease) Start(ctx context.Context) error {
	lock, err := l.lock()
	if err != nil {
		return fmt.Errorf("lease %s: %w", l.name, err)
	}
	c := l.config
	c.Lock = &trackedLock{Interface: lock, name: l.name, leases: l.leases}
	var wg sync.WaitGroup
	c.Callbacks = leaderelection.LeaderCallbacks{
		OnStartedLeading: func(context.Context) { l.lead(ctx, &wg) },
		OnStoppedLeading: func() {
			if ctx.Err() == nil {
				l.leases.lost(ErrLeaseLost)
			}
		},
	}
	e, err := leaderelection.NewLeaderElector(c)
	if err != nil {
		return fmt.Errorf("lease %s: %w", l.name, err)
	}
	// The lease is given up only after everything that writes has ended.
	held, release := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { wg.Wait(); release() })
	defer stop()
	defer release()
	e.Run(held)
	return nil
}

// lead starts what waits, and everything that is added later.
func (l *lease) lead(ctx context.Context, wg *sync.WaitGroup) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start = func(r ctrlmanager.Runnable) {
		wg.Go(func() {
			if err := r.Start(ctx); err != nil && ctx.Err() == nil {
				l.leases.lost(err)
			}
		})
	}
	for _, r := range l.waiting {
		l.start(r)
	}
	l.waiting = nil
}

func (l *lease) add(r ctrlmanager.Runnable) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.start != nil {
		l.start(r)
		return
	}
	l.waiting = append(l.waiting, r)
}

// lock makes the lock of a lease.
func (p *process) lock(namespace, name string, deadline time.Duration) (resourcelock.Interface, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	id := host + "_" + string(uuid.NewUUID())
	return resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, namespace, name,
		resourcelock.ResourceLockConfig{Identity: id}, p.raw, deadline)
}

// trackedLock notes when the lease was last renewed, at the time the request was
// sent.
type trackedLock struct {
	resourcelock.Interface
	name   string
	leases *leases
}

// Create implements resourcelock.Interface.
func (t *trackedLock) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	at := time.Now()
	err := t.Interface.Create(ctx, r)
	t.note(err, at, r)
	return err
}

// Update implements resourcelock.Interface.
func (t *trackedLock) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	at := time.Now()
	err := t.Interface.Update(ctx, r)
	t.note(err, at, r)
	return err
}

func (t *trackedLock) note(err error, at time.Time, r resourcelock.LeaderElectionRecord) {
	if err == nil && r.HolderIdentity == t.Identity() {
		t.leases.renew(t.name, at)
	}
}

// electedManager gives a controller its own lease in a shared manager.
type electedManager struct {
	ctrl.Manager
	lease *lease
}

// Add implements manager.Manager: what needs the election waits for it.
func (m *electedManager) Add(r ctrlmanager.Runnable) error {
	if m.lease == nil {
		return m.Manager.Add(r)
	}
	if n, ok := r.(ctrlmanager.LeaderElectionRunnable); ok && !n.NeedLeaderElection() {
		return m.Manager.Add(r)
	}
	m.lease.add(r)
	return nil
}

// everyReplica is a runnable that does not wait for an election.
type everyReplica func(context.Context) error

// Start implements manager.Runnable.
func (f everyReplica) Start(ctx context.Context) error { return f(ctx) }

// NeedLeaderElection implements the manager's optional interface.
func (f everyReplica) NeedLeaderElection() bool { return false }

// checker adapts a set of checks.
func checker(s *probes.Set) healthz.Checker {
	return func(r *http.Request) error { return s.Run(r.Context()) }
}

// eventWriter stores events through a client.
type eventWriter struct{ c ctrlclient.Client }

// Create implements events.Writer.
func (w eventWriter) Create(ctx context.Context, e *corev1.Event) error { return w.c.Create(ctx, e) }

// Patch implements events.Writer.
func (w eventWriter) Patch(ctx context.Context, namespace, name string, patch []byte) error {
	e := &corev1.Event{}
	e.Namespace, e.Name = namespace, name
	return w.c.Patch(ctx, e, ctrlclient.RawPatch(types.MergePatchType, patch))
}

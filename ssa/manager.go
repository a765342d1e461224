// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gitops-kit/sdk/ssa/inventory"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Owner is the identity under which a set is applied.
type Owner struct {
	FieldManager    string // required; as it appears in managedFields
	LabelGroup      string // required; prefix of the labels <group>/name and <group>/namespace
	Name, Namespace string // required: Name
}

// Labels returns the two labels that every object of the set carries.
func (o Owner) Labels() map[string]string {
	return map[string]string{o.LabelGroup + "/name": labelValue(o.Name), o.LabelGroup + "/namespace": labelValue(o.Namespace)}
}

// labelValue shortens names that are too long for a label.
func labelValue(s string) string {
	if len(s) <= 63 {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return s[:52] + "-" + hex.EncodeToString(sum[:5])
}

func (o Owner) selector() string {
	return o.LabelGroup + "/name=" + labelValue(o.Name) + "," + o.LabelGroup + "/namespace=" + labelValue(o.Namespace)
}

// ownerOf returns the owner that the labels of u name within the label group;
// ok is false without one.
func (o Owner) ownerOf(u *unstructured.Unstructured) (other Owner, ok bool) {
	labels := nestedMap(u.Object, "metadata", "labels")
	name, _ := labels[o.LabelGroup+"/name"].(string)
	ns, _ := labels[o.LabelGroup+"/namespace"].(string)
	if name == "" && ns == "" {
		return Owner{}, false
	}
	return Owner{LabelGroup: o.LabelGroup, Name: name, Namespace: ns}, true
}

func (o Owner) owns(u *unstructured.Unstructured) bool {
	other, ok := o.ownerOf(u)
	return ok && other.Name == labelValue(o.Name) && other.Namespace == labelValue(o.Namespace)
}

// LiveReader reads live objects from a watch cache instead of the server.
type LiveReader interface {
	// Live returns the object with its managedFields, an error that
	// apierrors.IsNotFound matches when it does not exist, or
	// [ErrLiveNotSynced] until it can tell.
	Live(ctx context.Context, r Resource, namespace, name string) (*unstructured.Unstructured, error)
}

// Options configure a [Manager]. Only Owner is required.
type Options struct {
	// Owner is the identity of the set.
	Owner Owner
	// Concurrency bounds the requests in flight. 0: 16.
	Concurrency int
	// Stages order kinds. nil: [DefaultStages].
	Stages []Stage
	// Env tells which configuration may change what the server does to an
	// object. nil: nothing is known, and the bound of
	// PlanOptions.VerifyEvery remains.
	Env Environment
	// Memo remembers objects that were found unchanged by asking the server.
	// nil: none. One Memo per process is enough.
	Memo *Memo
	// Live reads live objects from a cache. nil: from the server.
	Live LiveReader
	// Sensitive marks values that are masked as those of Secrets are.
	Sensitive []PathRule
	// DigestKey makes masked values part of Plan.Digest. nil: only where they
	// are and what happens to them.
	DigestKey []byte
	// DrainTimeout is how long writes in flight may go on after a context
	// ended. 0: 5 s.
	DrainTimeout time.Duration
	// Limits bound what inputs and the server may demand.
	Limits Limits
	// Progress, when set, is called after each planned, applied or deleted
	// object, from one goroutine at a time. It must not block.
	Progress func(Progress)
}

// Progress reports how far a call has come.
type Progress struct {
	Phase       string // plan, apply, delete
	ID          ID
	Result      string // a Decision or an Action
	Done, Total int
}

// Manager plans, applies, deletes and waits for one set of objects on one
// cluster. It is safe for concurrent use.
type Manager struct {
	c         Cluster
	o         Options
	stages    []Stage
	sensitive []compiledRule
	refused   *refusals
	progress  *sync.Mutex
}

// NewManager returns a manager for the set of o.Owner. An incomplete owner is
// [ErrInvalidObject], a malformed rule a [*RuleError].
func NewManager(c Cluster, o Options) (*Manager, error) {
	if c == nil {
		return nil, fmt.Errorf("new manager: no cluster: %w", ErrInvalidObject)
	}
	if o.Owner.FieldManager == "" || o.Owner.LabelGroup == "" || o.Owner.Name == "" {
		return nil, fmt.Errorf("new manager: owner needs a field manager, a label group and a name: %w", ErrInvalidObject)
	}
	if len(o.Owner.FieldManager) > 128 {
		return nil, fmt.Errorf("new manager: field manager is longer than 128 bytes: %w", ErrInvalidObject)
	}
	if o.Concurrency <= 0 {
		o.Concurrency = defaultConcurrency
	}
	if o.DrainTimeout <= 0 {
		o.DrainTimeout = 5 * time.Second
	}
	m := &Manager{c: c, o: o, stages: o.Stages, refused: refusalsOf(c), progress: new(sync.Mutex)}
	if m.stages == nil {
		m.stages = DefaultStages()
	}
	var err error
	if m.sensitive, err = compileRules(o.Sensitive, o.Limits); err != nil {
		return nil, fmt.Errorf("new manager: sensitive: %w", err)
	}
	if r, ok := c.(interface{ raiseConcurrency(int) }); ok {
		r.raiseConcurrency(o.Concurrency)
	}
	return m, nil
}

// Owner returns the owner of the set.
func (m *Manager) Owner() Owner { return m.o.Owner }

func (m *Manager) clusterID() string {
	if c, ok := m.c.(interface{ clusterID() string }); ok {
		return c.clusterID()
	}
	return fmt.Sprintf("%p", m.c)
}

func (m *Manager) report(phase string, id ID, result string, done, total int) {
	if m.o.Progress == nil {
		return
	}
	m.progress.Lock()
	defer m.progress.Unlock()
	m.o.Progress(Progress{Phase: phase, ID: id, Result: result, Done: done, Total: total})
}

// resource finds the resource of an inventory item: in its recorded version,
// or in any that the server still has.
func (m *Manager) resource(ctx context.Context, it inventory.Item) (Resource, error) {
	gk := groupKind(it.ID)
	if it.Version != "" {
		r, err := m.c.Resource(ctx, gk.WithVersion(it.Version))
		if err == nil || !isUnknownKind(err) {
			return r, err
		}
	}
	return m.c.Resource(ctx, schema.GroupVersionKind{Group: gk.Group, Kind: gk.Kind})
}

// each runs f for 0..n-1, at most Concurrency at a time, and waits.
func (m *Manager) each(n int, f func(i int)) {
	workers := min(m.o.Concurrency, n)
	if workers <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	var wg sync.WaitGroup
	var next atomic.Int64
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}

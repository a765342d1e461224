// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"net"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/dir"
	"github.com/gitops-kit/sdk/artifact/server"
)

const sweepEvery = time.Hour

// Storage is the artifact store of a process together with the server that
// publishes it. The store is opened when the first of them is needed, so that
// a process that never becomes the leader never locks the directory. It is
// safe for concurrent use.
type Storage struct {
	flags Flags
	// kinds lists the objects that own artifacts; Storage.Start removes what
	// belongs to none of them.
	kinds []client.ObjectList
	read  client.Reader

	mu    sync.Mutex
	store *artifact.Store
}

// NewStorage returns a storage that has opened nothing yet.
func NewStorage(f Flags, read client.Reader, kinds ...client.ObjectList) *Storage {
	return &Storage{flags: f, read: read, kinds: kinds}
}

// Store opens the store, once.
func (s *Storage) Store() (*artifact.Store, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.store != nil {
		return s.store, nil
	}
	d, err := dir.New(s.flags.StoragePath, dir.Options{LockTimeout: 30 * time.Second})
	if err != nil {
		return nil, err
	}
	store, err := artifact.NewStore(d, artifact.Options{
		BaseURL:     s.flags.BaseURL(),
		Algorithm:   s.flags.DigestAlgo,
		VerifyEvery: s.flags.StorageVerifyEvery,
		Limits: artifact.Limits{
			Artifact: s.flags.Limits["artifact"],
			Records:  s.flags.RetentionRecords,
			TTL:      s.flags.RetentionTTL,
		},
	})
	if err != nil {
		return nil, err
	}
	s.store = store
	return store, nil
}

// NeedLeaderElection makes the manager start the server with the controllers:
// the process that writes is the one that serves.
func (s *Storage) NeedLeaderElection() bool { return true }

// Start serves artifacts and removes those of vanished objects, at start and
// hourly, until ctx ends.
func (s *Storage) Start(ctx context.Context) error {
	store, err := s.Store()
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.flags.StorageAddr)
	if err != nil {
		return err
	}
	go s.sweep(ctx, store)
	err = server.New(store, server.Options{}).Serve(ctx, l)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store = nil
	if cerr := store.Close(); err == nil {
		err = cerr
	}
	return err
}

func (s *Storage) sweep(ctx context.Context, store *artifact.Store) {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		if err := s.Sweep(ctx, store); err != nil && ctx.Err() == nil {
			logf.FromContext(ctx).Error(err, "sweep artifacts")
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// Sweep removes temporary files and the directories of objects that do not
// exist any more.
func (s *Storage) Sweep(ctx context.Context, store *artifact.Store) error {
	live := map[string]map[types.NamespacedName]bool{}
	for _, list := range s.kinds {
		list := list.DeepCopyObject().(client.ObjectList)
		if err := s.read.List(ctx, list); err != nil {
			return err
		}
		kind, names, err := ownersOf(list)
		if err != nil {
			return err
		}
		live[kind] = names
	}
	_, err := store.Sweep(ctx, func(k artifact.Key) bool {
		names, known := live[k.Kind]
		return !known || names[types.NamespacedName{Namespace: k.Namespace, Name: k.Name}]
	})
	return err
}

// keyOf returns the storage key of an object's file; File may be empty.
func keyOf(o metav1.Object, file string) artifact.Key {
	return artifact.Key{Kind: gitKind, Namespace: o.GetNamespace(), Name: o.GetName(), File: file}
}

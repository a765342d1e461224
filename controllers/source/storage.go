// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/dir"
	"github.com/gitops-kit/sdk/artifact/server"
	"github.com/gitops-kit/sdk/artifact/shared"
	"github.com/gitops-kit/sdk/controllers/internal/blobregistry"
	"github.com/gitops-kit/sdk/controllers/internal/netguard"
)

const sweepEvery = time.Hour

// Storage is the artifact store of a process together with the server that
// publishes it. The store is opened when the first of them is needed, so that
// a process that never becomes the leader never locks the directory. With a
// registry every process serves, through a local cache, and with a shared
// volume from that; only the leader writes and sweeps. It is safe for concurrent
// use.
type Storage struct {
	flags Flags
	// kinds lists the objects that own artifacts; Storage.Start removes what
	// belongs to none of them.
	kinds []client.ObjectList
	read  client.Reader

	mu       sync.Mutex
	store    *artifact.Store
	registry *blobregistry.Registry
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
	d, registry, err := s.flags.driver()
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
	s.store, s.registry = store, registry
	return store, nil
}

// served opens what the server reads. On a shared volume that is a store of
// its own, without the lock that the leader has.
func (s *Storage) served() (*artifact.Store, error) {
	if s.flags.StorageBackend == backendOCI || !s.flags.StorageShared {
		return s.Store()
	}
	if err := os.MkdirAll(s.flags.StoragePath, 0o700); err != nil { // nobody led yet
		return nil, fmt.Errorf("open storage: %w", err)
	}
	d, err := dir.New(s.flags.StoragePath, dir.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	return artifact.NewStore(d, artifact.Options{BaseURL: s.flags.BaseURL(), Algorithm: s.flags.DigestAlgo})
}

// driver opens the backend that the flags name.
func (f *Flags) driver() (artifact.Driver, *blobregistry.Registry, error) {
	if f.StorageBackend != backendOCI {
		d, err := dir.New(f.StoragePath, dir.Options{LockTimeout: 30 * time.Second})
		return d, nil, err
	}
	o := blobregistry.Options{
		Insecure: f.StorageOCIInsecure, Limits: blobregistry.Limits{Blob: f.Limits["artifact"]},
		Net: netguard.Policy{ProxyFromEnvironment: true},
	}
	if f.StorageOCISecret != "" {
		o.Credentials = blobregistry.FromDockerConfig(f.StorageOCISecret, f.StorageOCIURL)
	}
	if f.StorageOCICA != "" {
		pem, err := os.ReadFile(f.StorageOCICA)
		if err != nil {
			return nil, nil, fmt.Errorf("--storage-oci-ca: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, nil, errors.New("--storage-oci-ca: no certificate in the file")
		}
		o.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	r, err := blobregistry.New(f.StorageOCIURL, o)
	if err != nil {
		return nil, nil, err
	}
	d, err := shared.New(r, shared.Options{Cache: filepath.Join(f.StoragePath, "registry-cache")})
	return d, r, err
}

// NeedLeaderElection makes the manager start the server with the controllers,
// unless replicas share a registry or a volume: the process that writes is the
// one that serves.
func (s *Storage) NeedLeaderElection() bool {
	return s.flags.StorageBackend != backendOCI && !s.flags.StorageShared
}

// Start serves artifacts until ctx ends. Where only the leader does, it also
// removes those of vanished objects, at start and hourly; else a [Sweeper] does.
func (s *Storage) Start(ctx context.Context) error {
	served, err := s.served()
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.flags.StorageAddr)
	if err != nil {
		return err
	}
	if s.NeedLeaderElection() {
		go s.sweep(ctx, served)
	}
	err = server.New(served, server.Options{}).Serve(ctx, l)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.store != nil && s.store != served {
		err = errors.Join(err, s.store.Close())
	}
	s.store = nil
	if s.registry != nil {
		_ = s.registry.Close()
	}
	return errors.Join(err, served.Close())
}

// Sweeper removes, in the leader, the artifacts of vanished objects from what
// replicas share.
type Sweeper struct {
	// Storage is the one of the process.
	Storage *Storage
}

// NeedLeaderElection leaves the work to the leader.
func (s Sweeper) NeedLeaderElection() bool { return true }

// Start sweeps at once and hourly until ctx ends.
func (s Sweeper) Start(ctx context.Context) error {
	store, err := s.Storage.Store()
	if err != nil {
		return err
	}
	s.Storage.sweep(ctx, store)
	return nil
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

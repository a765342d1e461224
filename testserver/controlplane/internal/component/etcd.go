// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package component

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	etcdTickMs      = 10
	etcdElectionMs  = 100
	etcdQuota       = 8 << 30
	walSegmentBytes = 4 << 20
	etcdMaxRequest  = 4 << 20
)

// Etcd is an embedded etcd server with one client address: a unix socket.
type Etcd struct {
	server *embed.Etcd
	socket string
}

// StartEtcd serves the data in dir on the unix socket and returns when it
// takes requests. It trades durability for speed: nothing is synced to disk.
// What etcd cannot go on with, such as a full disk, is given to fail instead of
// ending the process. It must be called once in a process, before anything else
// uses etcd.
func StartEtcd(ctx context.Context, dir, socket string, fail func(error)) (*Etcd, error) {
	wal.SegmentSizeBytes = walSegmentBytes
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	cfg := embed.NewConfig()
	cfg.Name = "gitops-kit"
	cfg.Dir = dir
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.ListenPeerUrls = nil
	cfg.ListenClientUrls = []url.URL{{Scheme: "unix", Path: socket}}
	cfg.AdvertiseClientUrls = cfg.ListenClientUrls
	cfg.TickMs = etcdTickMs
	cfg.ElectionMs = etcdElectionMs
	cfg.UnsafeNoFsync = true
	cfg.QuotaBackendBytes = etcdQuota
	cfg.MaxRequestBytes = etcdMaxRequest
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(etcdLogger(fail))
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	select {
	case <-server.Server.ReadyNotify():
		return &Etcd{server: server, socket: socket}, nil
	case err := <-server.Err():
		server.Close()
		return nil, fmt.Errorf("start: %w", err)
	case <-ctx.Done():
		server.Close()
		return nil, ctx.Err()
	}
}

// Failed delivers the error with which etcd ended by itself.
func (e *Etcd) Failed() <-chan error { return e.server.Err() }

// Stop ends the server and waits for it.
func (e *Etcd) Stop() {
	e.server.Server.HardStop()
	e.server.Close()
	_ = os.Remove(e.socket)
}

// EtcdURL is the client address of an etcd on socket.
func EtcdURL(socket string) string { return "unix://" + socket }

// Compact drops all history of the etcd on socket. It writes a key of its own
// first, so that every revision known to a client is older than the history
// that is left.
func Compact(ctx context.Context, socket string) error {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{EtcdURL(socket)},
		DialTimeout: 5 * time.Second,
		Logger:      zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())},
	})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	var last *clientv3.PutResponse
	for range 2 {
		if last, err = client.Put(ctx, "/gitops-kit/compact", time.Now().String()); err != nil {
			return fmt.Errorf("write compaction marker: %w", err)
		}
	}
	if _, err := client.Compact(ctx, last.Header.GetRevision(), clientv3.WithCompactPhysical()); err != nil {
		return fmt.Errorf("compact etcd: %w", err)
	}
	return nil
}

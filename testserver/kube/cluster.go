// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Cluster is a running control plane as one test, or one program, sees it:
// requests made with its [Cluster.Config] carry the test's name. It is safe
// for concurrent use.
type Cluster struct {
	s     *server
	agent string
	// report is told of errors of methods that have no testing.TB. nil: none.
	report func(format string, args ...any)
}

// server is a control plane, shared by the Clusters that tests hold.
type server struct {
	o       Options
	dataDir string // "" when the cluster was there before
	binary  string
	shared  bool // among the tests of a package
	crds    crdRegistry

	mu      sync.Mutex // guards p and what follows
	p       *process
	base    *rest.Config
	raw     []byte
	version version.Info
	stopped bool
	logFrom int64 // what is before this in the log is from the start
}

// errExisting is returned by what needs a control plane of its own.
var errExisting = errors.New("not possible with an existing cluster")

// Run starts a control plane that lasts until [Cluster.Stop], the end of ctx or
// the end of this process, whichever comes first.
func Run(ctx context.Context, o Options) (*Cluster, error) {
	s, err := newServer(ctx, o)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, s.stop)
	c := &Cluster{s: s, agent: userAgent(os.Args[0])}
	if err := c.installAll(ctx, o, "Run"); err != nil {
		s.stop()
		return nil, err
	}
	return c, nil
}

func newServer(ctx context.Context, o Options) (*server, error) {
	s := &server{o: o}
	existing, err := o.existing()
	if err != nil {
		return nil, err
	}
	if existing != "" {
		if o.Audit {
			return nil, fmt.Errorf("audit: %w", errExisting)
		}
		return s, s.adopt(ctx, existing)
	}
	if s.binary, err = Find(ctx, FindOptions{Progress: o.Progress}); err != nil {
		return nil, err
	}
	s.dataDir = newDataDir()
	if err := s.start(ctx, 0); err != nil {
		_ = os.RemoveAll(s.dataDir)
		return nil, err
	}
	return s, nil
}

// start runs the program on port, 0 for any.
func (s *server) start(ctx context.Context, port int) error {
	p, err := startProcess(ctx, s.binary, s.o.args(s.dataDir, port), s.o.Env)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.p = p
	if info, err := os.Stat(filepath.Join(s.dataDir, logFile)); err == nil {
		s.logFrom = info.Size()
	}
	s.mu.Unlock()
	if err := s.adopt(ctx, p.kubeconfig); err != nil {
		p.stop()
		return err
	}
	return nil
}

// adopt reads a kubeconfig and asks the server for its version.
func (s *server) adopt(ctx context.Context, file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: file}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{})
	config, err := loader.ClientConfig()
	if err != nil {
		return fmt.Errorf("kubeconfig %q: %w", file, err)
	}
	config.QPS = -1
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	v, err := client.ServerVersionWithContext(ctx)
	if err != nil {
		return fmt.Errorf("ask for the version of the server: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.base, s.raw, s.version = config, raw, *v
	return nil
}

// stop ends the control plane and removes what is left of it.
func (s *server) stop() {
	s.mu.Lock()
	p, done := s.p, s.stopped
	s.stopped = true
	s.mu.Unlock()
	if p == nil || done {
		return
	}
	p.stop()
	_ = os.RemoveAll(s.dataDir)
}

// Stop ends a control plane that this process started. A cluster that was
// there before goes on.
func (c *Cluster) Stop() { c.s.stop() }

// Config returns an administrator's client configuration: without client-side
// limits, preferring protobuf in replies, with the test's name as user agent.
// The caller may change it.
func (c *Cluster) Config() *rest.Config {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	config := rest.CopyConfig(c.s.base)
	return c.tune(config)
}

const protobufThenJSON = "application/vnd.kubernetes.protobuf,application/json"

func (c *Cluster) tune(config *rest.Config) *rest.Config {
	config.QPS = -1
	config.UserAgent = c.agent
	if config.AcceptContentTypes == "" {
		config.AcceptContentTypes = protobufThenJSON
	}
	return config
}

// UserAgent is what requests made with [Cluster.Config] carry.
func (c *Cluster) UserAgent() string { return c.agent }

// Kubeconfig returns an administrator's kubeconfig.
func (c *Cluster) Kubeconfig() []byte {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return append([]byte(nil), c.s.raw...)
}

// Version returns the version of the API server, such as "v1.37.2".
func (c *Cluster) Version() string {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.s.version.GitVersion
}

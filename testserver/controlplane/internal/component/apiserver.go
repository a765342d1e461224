// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package component

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	cliflag "k8s.io/component-base/cli/flag"
	basecompatibility "k8s.io/component-base/compatibility"
	"k8s.io/component-base/featuregate"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"

	"github.com/gitops-kit/sdk/testserver/controlplane/internal/pki"
)

// ServiceCIDR is the range of cluster IPs, and ServiceIP its first address,
// the one of the service default/kubernetes.
const (
	ServiceCIDR = "10.96.0.0/16"
	ServiceIP   = "10.96.0.1"
)

// cutAfter is how long requests may go on after an API server was told to
// stop; then its connections are closed under them.
const cutAfter = 100 * time.Millisecond

// APIServerFlags are the flags of an API server whose files are in pkiDir.
// Its own kubelet and controllers are absent when alone is true.
func APIServerFlags(pkiDir, etcdSocket string, alone bool) []string {
	file := func(name string) string { return filepath.Join(pkiDir, name) }
	disabled := "TaintNodesByCondition,StorageObjectInUseProtection"
	if alone {
		disabled += ",ServiceAccount"
	}
	return []string{
		"--etcd-servers=" + EtcdURL(etcdSocket),
		"--etcd-healthcheck-timeout=10s",
		"--endpoint-reconciler-type=none",
		// Without it, an address is looked for along the machine's routes, and
		// there may be none. Nobody reads it: see the reconciler.
		"--advertise-address=127.0.0.1",
		"--authorization-mode=RBAC",
		"--allow-privileged=true",
		"--kubelet-preferred-address-types=InternalIP",
		"--anonymous-auth=true",
		"--service-cluster-ip-range=" + ServiceCIDR,
		"--tls-cert-file=" + file(pki.Serving),
		"--tls-private-key-file=" + file(pki.ServingKey),
		"--client-ca-file=" + file(pki.CA),
		"--requestheader-client-ca-file=" + file(pki.ProxyCA),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + file(pki.ProxyClient),
		"--proxy-client-key-file=" + file(pki.ProxyClientKey),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + file(pki.TokenPublicKey),
		"--service-account-signing-key-file=" + file(pki.TokenKey),
		"--disable-admission-plugins=" + disabled,
		"--shutdown-delay-duration=0s",
		"--shutdown-watch-termination-grace-period=0s",
		"--profiling=false",
	}
}

// AuditFlags make an API server write every request's audit event, with
// bodies, to file. The policy is written beside it.
func AuditFlags(dir, file string) ([]string, error) {
	policy := filepath.Join(dir, "audit-policy.yaml")
	const text = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- level: RequestResponse\n"
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return []string{
		"--audit-policy-file=" + policy,
		"--audit-log-path=" + file,
		"--audit-log-format=json",
		"--audit-log-mode=blocking",
		"--audit-log-maxsize=0",
	}, nil
}

// logging is applied once in a process, by whichever component comes first.
type logging struct {
	once sync.Once
	err  error
}

var processLogging logging //nolint:gochecknoglobals // the configuration it guards is process-wide

func applyLogging(c *logsapi.LoggingConfiguration, gate featuregate.FeatureGate) error {
	processLogging.once.Do(func() { processLogging.err = logsapi.ValidateAndApply(c, gate) })
	return processLogging.err
}

// RunAPIServer serves the Kubernetes API on listener until ctx ends. It may
// be called again in the same process after it has returned, which closes
// listener.
func RunAPIServer(ctx context.Context, listener net.Listener, args []string) error {
	// Also when it does not come to serving: clients are refused, not kept waiting.
	defer func() { _ = listener.Close() }()
	o := options.NewServerRunOptions()
	sets := o.Flags()
	if err := parse(sets, args); err != nil {
		return err
	}
	tracked := &trackedListener{Listener: listener, conns: map[net.Conn]struct{}{}}
	o.SecureServing.Listener = tracked
	registry := o.GenericServerRunOptions.ComponentGlobalsRegistry
	if err := registry.Set(); err != nil {
		return err
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	gate := registry.FeatureGateFor(basecompatibility.DefaultKubeComponent)
	if err := applyLogging(o.Logs, gate); err != nil {
		return err
	}
	name, err := cache.NewInformerName("kube-apiserver")
	if err != nil {
		return err
	}
	defer name.Release()
	o.InformerName = name
	completed, err := o.Complete(ctx)
	if err != nil {
		return err
	}
	if errs := completed.Validate(); len(errs) != 0 {
		return utilerrors.NewAggregate(errs)
	}
	addMetrics(gate, registry)

	cutDone := make(chan struct{})
	runCtx, cancel := context.WithCancel(ctx)
	go func() {
		defer close(cutDone)
		<-runCtx.Done()
		timer := time.NewTimer(cutAfter)
		defer timer.Stop()
		<-timer.C
		tracked.cut()
	}()
	err = app.Run(runCtx, completed)
	cancel()
	<-cutDone
	return ended(ctx, err)
}

func addMetrics(gate featuregate.FeatureGate, registry basecompatibility.ComponentGlobalsRegistry) {
	if m, ok := gate.(featuregate.MutableFeatureGate); ok {
		m.AddMetrics()
	}
	registry.AddMetrics()
}

// parse reads args into the flag sets of one component.
func parse(sets cliflag.NamedFlagSets, args []string) error {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	all.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	all.SetOutput(io.Discard)
	for _, s := range sets.FlagSets {
		all.AddFlagSet(s)
	}
	if err := all.Parse(args); err != nil {
		return err
	}
	if all.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", all.Arg(0))
	}
	return nil
}

// trackedListener remembers its connections, so that stopping a server need
// not wait for clients that watch.
type trackedListener struct {
	net.Listener
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	ended bool
}

func (l *trackedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		t := &trackedConn{Conn: c, owner: l}
		if l.add(t) {
			return t, nil
		}
		_ = c.Close()
	}
}

func (l *trackedListener) add(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.conns[c] = struct{}{}
	}
	return !l.ended
}

// cut closes all connections and takes no more. The listener itself is closed
// by the server, which takes an end that it did not ask for as a fault.
func (l *trackedListener) cut() {
	l.mu.Lock()
	l.ended = true
	conns := make([]net.Conn, 0, len(l.conns))
	for c := range l.conns {
		conns = append(conns, c)
	}
	l.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
}

type trackedConn struct {
	net.Conn
	owner *trackedListener
	once  sync.Once
}

func (c *trackedConn) Close() error {
	c.once.Do(func() {
		c.owner.mu.Lock()
		delete(c.owner.conns, c)
		c.owner.mu.Unlock()
	})
	return c.Conn.Close()
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/gitops-kit/sdk/testserver/controlplane/internal/component"
	"github.com/gitops-kit/sdk/testserver/controlplane/internal/pki"
)

const (
	// readyLimit bounds a start if nothing else is said: much more than it
	// takes, as the machine may have much else to do.
	readyLimit = 180 * time.Second
	pollEvery  = 50 * time.Millisecond
	// restartsHere is how many API servers run in this process one after the
	// other: each keeps tens of megabytes, so later ones run in a child.
	restartsHere = 3
)

// cluster is one control plane.
type cluster struct {
	o      Options
	d      *dir
	server string // URL
	port   *port
	client kubernetes.Interface
	failed *failure

	mu        sync.Mutex
	parts     map[string]*part
	apiStarts int
}

func newCluster(o Options, d *dir) *cluster {
	return &cluster{o: o, d: d, failed: newFailure(), parts: map[string]*part{}}
}

// run starts everything, calls ready, serves commands until ctx ends or a
// component fails, and stops everything.
func (c *cluster) run(ctx context.Context, commands <-chan command, ready func()) error {
	limit := stopLimitUnready
	defer func() { c.stop(limit) }()
	if err := c.start(ctx); err != nil {
		return err
	}
	limit = stopLimit
	ready()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.failed.done:
			return c.failed.err
		case cmd := <-commands:
			cmd.answer(c.execute(ctx, cmd.words))
		}
	}
}

func (c *cluster) full() bool { return c.o.Components == ComponentsAll }

func (c *cluster) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.o.ReadyTimeout)
	defer cancel()
	p, err := reserve(ctx, c.o.Listen, c.o.Port)
	if err != nil {
		return err
	}
	c.port = p
	c.server = "https://" + net.JoinHostPort(c.o.Listen, strconv.Itoa(p.number))
	if err := c.writeFiles(); err != nil {
		return err
	}
	etcd := spec{Name: nameEtcd, Dir: c.d.file(etcdDir), Socket: c.d.socket()}
	if err := c.startAndWait(ctx, etcd); err != nil {
		return err
	}
	if err := c.startAPIServer(ctx); err != nil {
		return err
	}
	if err := c.awaitNamespaces(ctx); err != nil {
		return err
	}
	if !c.full() {
		return nil
	}
	return c.startOthers(ctx)
}

// awaitNamespaces waits for the namespaces that the API server makes by itself,
// shortly after it says that it is ready.
func (c *cluster) awaitNamespaces(ctx context.Context) error {
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease} {
		err := c.await(ctx, "namespace "+name, func(ctx context.Context) (bool, error) {
			_, err := c.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
			return err == nil, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) startOthers(ctx context.Context) error {
	dir := c.d.file(pkiDir)
	manager := spec{Name: nameControllerManager, RealDelays: c.o.RealDelays, Kubeconfig: kubeconfigOf(dir, nameControllerManager)}
	manager.Args = append(component.ControllerManagerFlags(dir, manager.Kubeconfig, c.o.RealDelays), c.common()...)
	manager.Args = append(manager.Args, c.o.ControllerManagerFlags...)
	scheduler := spec{Name: nameScheduler, Kubeconfig: kubeconfigOf(dir, nameScheduler)}
	scheduler.Args = append(component.SchedulerFlags(scheduler.Kubeconfig), c.common()...)
	scheduler.Args = append(scheduler.Args, c.o.SchedulerFlags...)
	nodes := spec{Name: nameKubelet, Nodes: c.o.Nodes, Dir: dir, Kubeconfig: kubeconfigOf(dir, nameKubelet)}
	for _, s := range []spec{manager, scheduler} {
		if err := c.startPart(ctx, s, nil, func() {}); err != nil {
			return err
		}
	}
	if err := c.startAndWait(ctx, nodes); err != nil {
		return err
	}
	return c.await(ctx, "service account default/default", func(ctx context.Context) (bool, error) {
		_, err := c.client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil, err
	})
}

// common are flags of components beside the API server: in one process the
// API server's hold for all.
func (c *cluster) common() []string {
	if !c.o.Split {
		return nil
	}
	return c.shared()
}

func (c *cluster) shared() []string {
	args := []string{"--v=" + strconv.Itoa(c.o.Verbosity)}
	if c.o.FeatureGates != "" {
		args = append(args, "--feature-gates="+c.o.FeatureGates)
	}
	return args
}

func kubeconfigOf(dir, name string) string { return filepath.Join(dir, name+".kubeconfig") }

// writeFiles makes certificates and kubeconfigs.
func (c *cluster) writeFiles() error {
	dir := c.d.file(pkiDir)
	masters := []string{"system:masters"}
	clients := []pki.Client{{File: "admin", User: "admin", Groups: masters}}
	for _, name := range []string{nameControllerManager, nameScheduler, nameKubelet} {
		clients = append(clients, pki.Client{File: name, User: "system:" + name, Groups: masters})
	}
	hosts := []string{"127.0.0.1", "::1", "localhost", component.ServiceIP, "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	if err := pki.Write(dir, hosts, clients); err != nil {
		return err
	}
	for _, client := range clients {
		text, err := c.kubeconfig(dir, client.File)
		if err != nil {
			return err
		}
		file := kubeconfigOf(dir, client.File)
		if client.File == "admin" {
			file = c.d.kubeconfig
			c.d.wrote.Store(true)
			config, err := clientcmd.RESTConfigFromKubeConfig(text)
			if err != nil {
				return err
			}
			config.QPS = -1
			if c.client, err = kubernetes.NewForConfig(rest.AddUserAgent(config, "controlplane")); err != nil {
				return err
			}
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) kubeconfig(dir, client string) ([]byte, error) {
	var data [3]string
	for i, name := range []string{pki.CA, client + ".crt", client + ".key"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		data[i] = base64.StdEncoding.EncodeToString(b)
	}
	const format = `apiVersion: v1
kind: Config
clusters:
- name: gitops-kit
  cluster: {server: %q, certificate-authority-data: %s}
users:
- name: %s
  user: {client-certificate-data: %s, client-key-data: %s}
contexts:
- name: gitops-kit
  context: {cluster: gitops-kit, user: %[3]s}
current-context: gitops-kit
`
	return fmt.Appendf(nil, format, c.server, data[0], client, data[1], data[2]), nil
}

// startPart starts a component. Its early end is in c.failed.
func (c *cluster) startPart(ctx context.Context, s spec, listener *net.TCPListener, ready func()) error {
	var p *part
	if c.o.Split || s.Name == nameAPIServer && c.apiStarts > restartsHere {
		var err error
		if p, err = startChild(s, listener, ready); err != nil {
			return &partError{Name: s.Name, Err: err}
		}
		if listener != nil {
			_ = listener.Close() // the child has its own descriptor
		}
	} else {
		p = startHere(ctx, s, listener, ready, c.failed.set)
	}
	c.mu.Lock()
	c.parts[s.Name] = p
	c.mu.Unlock()
	go func() {
		<-p.done
		if p.err != nil {
			c.failed.set(p.err)
		}
	}()
	return nil
}

func (c *cluster) startAndWait(ctx context.Context, s spec) error {
	ready := make(chan struct{})
	var once sync.Once
	if err := c.startPart(ctx, s, nil, func() { once.Do(func() { close(ready) }) }); err != nil {
		return err
	}
	select {
	case <-ready:
		return nil
	case <-c.failed.done:
	case <-ctx.Done():
	}
	return c.unready(ctx, s.Name, nil)
}

// unready says why a wait ended: a component failed, it took too long, or it
// was told to.
func (c *cluster) unready(ctx context.Context, what string, last error) error {
	if err := c.failed.get(); err != nil {
		return err
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &notReadyError{What: what, Limit: c.o.ReadyTimeout, Last: last}
	}
	return ctx.Err()
}

// startAPIServer returns when the API server says it is ready.
func (c *cluster) startAPIServer(ctx context.Context) error {
	listener, err := c.port.listen(ctx)
	if err != nil {
		return err
	}
	dir := c.d.file(pkiDir)
	args := append(component.APIServerFlags(dir, c.d.socket(), !c.full()), c.shared()...)
	if c.o.Audit != "" {
		audit, err := component.AuditFlags(c.d.path, c.o.Audit)
		if err != nil {
			return errors.Join(err, listener.Close())
		}
		args = append(args, audit...)
	}
	args = append(args, c.o.APIServerFlags...)
	c.apiStarts++
	if err := c.startPart(ctx, spec{Name: nameAPIServer, Args: args}, listener, func() {}); err != nil {
		return errors.Join(err, listener.Close())
	}
	return c.await(ctx, "API server", func(ctx context.Context) (bool, error) {
		body, err := c.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Raw()
		if missing := notOK(body); err != nil && missing != "" {
			err = errors.New(missing)
		}
		return err == nil, err
	})
}

// notOK picks the checks that fail from an answer of /readyz.
func notOK(body []byte) string {
	var missing []string
	for line := range strings.Lines(string(body)) {
		if name, ok := strings.CutPrefix(line, "[-]"); ok {
			missing = append(missing, strings.TrimSpace(name))
		}
	}
	return strings.Join(missing, ", ")
}

// await polls until is says yes. The failure of a component ends the wait at
// once, also in the middle of a request, which would wait for a server that
// does not come.
func (c *cluster) await(ctx context.Context, what string, is func(context.Context) (bool, error)) error {
	bound, cancel := c.failed.bind(ctx)
	defer cancel()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	var last error
	for {
		ok, err := is(bound)
		if ok {
			return nil
		}
		if err != nil && bound.Err() == nil {
			last = err
		}
		select {
		case <-ticker.C:
		case <-bound.Done():
			return c.unready(ctx, what, last)
		}
	}
}

// stop ends the components: those that use the API server, the API server,
// etcd. It takes no longer than limit.
func (c *cluster) stop(limit time.Duration) {
	c.mu.Lock()
	parts := c.parts
	c.parts = map[string]*part{}
	c.mu.Unlock()
	users := []string{nameControllerManager, nameScheduler, nameKubelet}
	for _, name := range users {
		if p := parts[name]; p != nil {
			p.end()
		}
	}
	deadline := time.Now().Add(limit)
	for _, name := range append(users, nameAPIServer, nameEtcd) {
		if p := parts[name]; p != nil {
			limit := time.Until(deadline)
			if name != nameEtcd && name != nameAPIServer {
				limit = min(limit, time.Second)
			}
			p.stop(limit)
		}
	}
	if c.port != nil {
		c.port.release()
	}
}

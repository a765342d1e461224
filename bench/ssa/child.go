// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/cli-utils/pkg/object"
	peer "github.com/fluxcd/pkg/ssa"
	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/ssa/inventory"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

const group = "bench.gitops-kit.github.io"

// subject is one variant.
type subject interface {
	apply(ctx context.Context, objects []*unstructured.Unstructured, direct bool) (int, error)
	wait(ctx context.Context, objects []*unstructured.Unstructured) error
	remove(ctx context.Context, objects []*unstructured.Unstructured) (int, error)
}

func runChild(variant, profile string, args []string) error {
	op, kubeconfig, ns := args[0], args[1], args[2]
	n, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	cfg.QPS = -1
	ctx := context.Background()
	var s subject
	switch variant {
	case "ours":
		s, err = newOurs(cfg, ns, op)
	case "raw":
		s, err = newRaw(cfg, ns)
	case "peer":
		s, err = newPeer(cfg, ns, 0)
	case "peer4":
		s, err = newPeer(cfg, ns, 4)
	default:
		err = fmt.Errorf("no variant %q", variant)
	}
	if err != nil {
		return err
	}
	if err := namespace(ctx, cfg, ns); err != nil {
		return err
	}
	if profile != "" && variant == "ours" {
		stop, err := startProfile(filepath.Join(profile, op+".pprof"))
		if err != nil {
			return err
		}
		defer stop()
	}
	out, err := run(ctx, s, op, ns, n)
	if err != nil {
		return err
	}
	out.PeakMiB = peakMiB()
	return json.NewEncoder(os.Stdout).Encode(out)
}

func startProfile(file string) (func(), error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() { pprof.StopCPUProfile(); _ = f.Close() }, nil
}

// cpuSeconds is the processor time of this process so far.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

func run(ctx context.Context, s subject, op, ns string, n int) (out sample, err error) {
	objects := deployments(ns, n)
	switch op {
	case "change":
		for i := range n / 100 {
			_ = unstructured.SetNestedField(objects[i*100].Object, time.Now().Format(time.RFC3339Nano), "metadata", "annotations", "changed")
		}
	case "wait":
		objects = configMaps(ns, n)
		if _, err := s.apply(ctx, objects, false); err != nil {
			return out, err
		}
	case "cached":
		if o, ok := s.(*ours); ok {
			if err := o.fill(ctx, objects); err != nil {
				return out, err
			}
		}
	}
	start, cpu := time.Now(), cpuSeconds()
	switch op {
	case "wait":
		err = s.wait(ctx, objects)
		out.Count = n
	case "delete":
		out.Count, err = s.remove(ctx, objects)
	default:
		out.Count, err = s.apply(ctx, objects, op == "direct")
	}
	out.Seconds, out.CPU = time.Since(start).Seconds(), cpuSeconds()-cpu
	return out, err
}

func namespace(ctx context.Context, cfg *rest.Config, ns string) error {
	c, err := ssa.NewCluster(cfg, ssa.ClusterOptions{})
	if err != nil {
		return err
	}
	r, err := c.Resource(ctx, schema.GroupVersionKind{Version: "v1", Kind: "Namespace"})
	if err != nil {
		return err
	}
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": ns}}}
	_, err = c.Send(ctx, ssa.Write{Verb: ssa.VerbCreate, Resource: r, Object: u})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

const deployment = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"NAME","namespace":"NS","labels":{"app":"NAME"},"annotations":{"about":"bench"}},
"spec":{"replicas":0,"selector":{"matchLabels":{"app":"NAME"}},"template":{"metadata":{"labels":{"app":"NAME"}},"spec":{"serviceAccountName":"default",
"containers":[{"name":"main","image":"example.com/main:1","args":["--a","--b"],"env":[{"name":"A","value":"1"},{"name":"B","value":"2"},{"name":"C","valueFrom":{"fieldRef":{"fieldPath":"metadata.name","apiVersion":"v1"}}}],
"ports":[{"name":"http","containerPort":8080,"protocol":"TCP"}],"resources":{"requests":{"cpu":"100m","memory":"64Mi"},"limits":{"memory":"128Mi"}},
"livenessProbe":{"httpGet":{"path":"/healthz","port":"http"}},"volumeMounts":[{"name":"data","mountPath":"/data"}]},
{"name":"side","image":"example.com/side:1"}],"volumes":[{"name":"data","emptyDir":{}}]}}}}`

func deployments(ns string, n int) []*unstructured.Unstructured {
	return generate(deployment, "d", ns, n)
}

func configMaps(ns string, n int) []*unstructured.Unstructured {
	return generate(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"NAME","namespace":"NS"},"data":{"a":"b"}}`, "c", ns, n)
}

func generate(text, prefix, ns string, n int) []*unstructured.Unstructured {
	out := make([]*unstructured.Unstructured, n)
	for i := range out {
		u := &unstructured.Unstructured{}
		s := strings.NewReplacer("NAME", fmt.Sprintf("%s%05d", prefix, i), "NS", ns).Replace(text)
		if err := u.UnmarshalJSON([]byte(s)); err != nil {
			panic(err)
		}
		out[i] = u
	}
	return out
}

// ours

type ours struct {
	c    ssa.Cluster
	m    *ssa.Manager
	live map[string]*unstructured.Unstructured
}

// Live serves the filled cache.
func (o *ours) Live(_ context.Context, _ ssa.Resource, ns, name string) (*unstructured.Unstructured, error) {
	u, ok := o.live[ns+"/"+name]
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{}, name)
	}
	return u, nil
}

func (o *ours) fill(ctx context.Context, objects []*unstructured.Unstructured) error {
	r, err := o.c.Resource(ctx, objects[0].GroupVersionKind())
	if err != nil {
		return err
	}
	for u, err := range o.c.List(ctx, r, ssa.ListOptions{Namespace: objects[0].GetNamespace()}) {
		if err != nil {
			return err
		}
		o.live[u.GetNamespace()+"/"+u.GetName()] = u
	}
	// What a process asks once (API groups, webhooks, policies) is no part of
	// a pass: a controller with a cache has been running for a while.
	_, err = o.m.Plan(ctx, objects[:1], ssa.PlanOptions{VerifyEvery: 1 << 30})
	return err
}

func newOurs(cfg *rest.Config, ns, op string) (*ours, error) {
	c, err := ssa.NewCluster(cfg, ssa.ClusterOptions{})
	if err != nil {
		return nil, err
	}
	o := &ours{c: c, live: map[string]*unstructured.Unstructured{}}
	opts := ssa.Options{Owner: ssa.Owner{FieldManager: "bench", LabelGroup: group, Name: ns, Namespace: ns}}
	if op == "cached" {
		opts.Live = o
	}
	o.m, err = ssa.NewManager(c, opts)
	return o, err
}

func (o *ours) apply(ctx context.Context, objects []*unstructured.Unstructured, direct bool) (int, error) {
	p, err := o.m.Plan(ctx, objects, ssa.PlanOptions{Direct: direct, VerifyEvery: 1 << 30})
	if err != nil {
		return 0, err
	}
	r, err := o.m.Apply(ctx, p, ssa.ApplyOptions{})
	return len(r.Outcomes), err
}

func (o *ours) wait(ctx context.Context, objects []*unstructured.Unstructured) error {
	targets := make([]ssa.Target, len(objects))
	for i, u := range objects {
		targets[i] = ssa.Target{ID: ssa.IDOf(u), Version: u.GroupVersionKind().Version}
	}
	_, err := o.m.Wait(ctx, targets, ssa.WaitOptions{})
	return err
}

func (o *ours) remove(ctx context.Context, objects []*unstructured.Unstructured) (int, error) {
	var s inventory.Set
	for _, u := range objects {
		s.Add(inventory.Item{ID: ssa.IDOf(u), Version: u.GroupVersionKind().Version})
	}
	p, err := o.m.PlanDelete(ctx, s, ssa.DeleteOptions{})
	if err != nil {
		return 0, err
	}
	r, err := o.m.Delete(ctx, p, ssa.DeleteOptions{})
	return r.Count(ssa.ActionDeleted), err
}

// peer

type established struct {
	m  *peer.ResourceManager
	ns string
}

func newPeer(cfg *rest.Config, ns string, parallel int) (*established, error) {
	hc, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	mapper, err := apiutil.NewDynamicRESTMapper(cfg, hc)
	if err != nil {
		return nil, err
	}
	c, err := client.New(cfg, client.Options{Mapper: mapper, HTTPClient: hc})
	if err != nil {
		return nil, err
	}
	m := peer.NewResourceManager(c, polling.NewStatusPoller(c, mapper, polling.Options{}), peer.Owner{Field: "bench", Group: group})
	if parallel > 0 { // 0: what a new one has
		m.SetConcurrency(parallel)
	}
	return &established{m: m, ns: ns}, nil
}

func (e *established) apply(ctx context.Context, objects []*unstructured.Unstructured, _ bool) (int, error) {
	e.m.SetOwnerLabels(objects, e.ns, e.ns)
	cs, err := e.m.ApplyAllStaged(ctx, objects, peer.DefaultApplyOptions())
	if err != nil {
		return 0, err
	}
	return len(cs.Entries), nil
}

func (e *established) wait(_ context.Context, objects []*unstructured.Unstructured) error {
	o := peer.DefaultWaitOptions()
	o.Timeout = 5 * time.Minute
	return e.m.WaitForSet(object.UnstructuredSetToObjMetadataSet(objects), o)
}

func (e *established) remove(ctx context.Context, objects []*unstructured.Unstructured) (int, error) {
	cs, err := e.m.DeleteAll(ctx, objects, peer.DefaultDeleteOptions())
	if err != nil {
		return 0, err
	}
	return len(cs.Entries), nil
}

// peakMiB is the process's own peak of resident memory.
func peakMiB() float64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib / 1024
		}
	}
	return 0
}

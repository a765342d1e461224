// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
)

var crdResource = schema.GroupVersionResource{ //nolint:gochecknoglobals // a name
	Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions",
}

const (
	crdKind = "CustomResourceDefinition"
	crdPoll = 10 * time.Millisecond
	// crdWait bounds the wait for one set of definitions.
	crdWait = 60 * time.Second
	// maxCRDFile bounds a file of definitions.
	maxCRDFile = 64 << 20
)

// crdRegistry remembers who installed which definition on a control plane.
type crdRegistry struct {
	mu   sync.Mutex
	seen map[string]crdOrigin
}

type crdOrigin struct {
	digest [sha256.Size]byte
	test   string
	source string
	served chan struct{} // closed when the definition is in force
}

// crd is a definition and where it came from.
type crd struct {
	object *unstructured.Unstructured
	source string
}

// InstallCRDs installs the definitions in files, and in the .yaml, .yml and
// .json files of directories, and returns when they are established and
// served. Installing an equal definition again is fine; a different one of the
// same name fails the test, because it would change the API under others.
func (c *Cluster) InstallCRDs(tb testing.TB, paths ...string) {
	tb.Helper()
	crds, err := readCRDs(paths)
	if err == nil {
		err = c.install(tb.Context(), crds, tb.Name())
	}
	if err != nil {
		tb.Fatalf("kube: install definitions: %v", err)
	}
}

// installAll installs the definitions named in o.
func (c *Cluster) installAll(ctx context.Context, o Options, test string) error {
	crds, err := readCRDs(o.CRDs)
	if err != nil {
		return err
	}
	for i, obj := range o.CRDObjects {
		u, err := toUnstructured(obj)
		if err != nil {
			return fmt.Errorf("CRDObjects[%d]: %w", i, err)
		}
		crds = append(crds, crd{object: u, source: fmt.Sprintf("CRDObjects[%d]", i)})
	}
	return c.install(ctx, crds, test)
}

func toUnstructured(obj runtime.Object) (*unstructured.Unstructured, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{Object: m}
	if u.GetKind() == "" { // typed objects often come without
		u.SetGroupVersionKind(crdResource.GroupVersion().WithKind(crdKind))
	}
	if u.GetKind() != crdKind {
		return nil, fmt.Errorf("a %s is no %s", u.GetKind(), crdKind)
	}
	unstructured.RemoveNestedField(u.Object, "status")
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	return u, nil
}

// readCRDs reads the definitions in files and directories; other objects in
// them are left out.
func readCRDs(paths []string) ([]crd, error) {
	var crds []crd
	for _, path := range paths {
		files, err := manifestFiles(path)
		if err != nil {
			return nil, err
		}
		found := len(crds)
		for _, file := range files {
			more, err := readFile(file)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			crds = append(crds, more...)
		}
		if len(crds) == found {
			return nil, fmt.Errorf("%s: no %s in it", path, crdKind)
		}
	}
	return crds, nil
}

func manifestFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); !e.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, ext) {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	return files, nil
}

func readFile(file string) ([]crd, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxCRDFile+1)) //nolint:forbidigo // bounded
	if err != nil {
		return nil, err
	}
	if len(b) > maxCRDFile {
		return nil, fmt.Errorf("more than %d bytes", maxCRDFile)
	}
	var crds []crd
	docs := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(b), 4096)
	for {
		u := &unstructured.Unstructured{}
		err := docs.Decode(&u.Object)
		if errors.Is(err, io.EOF) {
			return crds, nil
		}
		if err != nil {
			return nil, err
		}
		if u.GetKind() != crdKind {
			continue
		}
		u, err = toUnstructured(u)
		if err != nil {
			return nil, err
		}
		crds = append(crds, crd{object: u, source: file})
	}
}

// install creates the definitions that are not there and waits for all.
func (c *Cluster) install(ctx context.Context, crds []crd, test string) error {
	if len(crds) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, crdWait)
	defer cancel()
	client, err := dynamic.NewForConfig(c.Config())
	if err != nil {
		return err
	}
	var wait []chan struct{}
	var mine []crd
	for _, d := range crds {
		served, first, err := c.s.crds.claim(d, test)
		if err != nil {
			return err
		}
		if first {
			mine = append(mine, d)
		} else {
			wait = append(wait, served)
		}
	}
	for i, d := range mine {
		if err := c.create(ctx, client, d); err != nil {
			c.s.crds.drop(mine[i:])
			return fmt.Errorf("%s from %s: %w", d.object.GetName(), d.source, err)
		}
	}
	for i, d := range mine {
		if err := c.awaitServed(ctx, client, d.object); err != nil {
			c.s.crds.drop(mine[i:])
			return fmt.Errorf("%s from %s: %w", d.object.GetName(), d.source, err)
		}
		c.s.crds.confirm(d)
	}
	for _, served := range wait {
		select {
		case <-served:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (c *Cluster) create(ctx context.Context, client dynamic.Interface, d crd) error {
	crds := client.Resource(crdResource)
	_, err := crds.Create(ctx, d.object, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	// Left by an earlier run on a cluster that stays, or made by the test
	// itself: bring it up to date.
	live, err := crds.Get(ctx, d.object.GetName(), metav1.GetOptions{})
	if err != nil {
		return err
	}
	update := d.object.DeepCopy()
	update.SetResourceVersion(live.GetResourceVersion())
	_, err = crds.Update(ctx, update, metav1.UpdateOptions{})
	return err
}

// claim says whether the caller is the first to install the definition, and
// what to wait for if not.
func (r *crdRegistry) claim(d crd, test string) (chan struct{}, bool, error) {
	b, err := json.Marshal(d.object.Object) // maps are written in key order
	if err != nil {
		return nil, false, err
	}
	digest := sha256.Sum256(b)
	r.mu.Lock()
	defer r.mu.Unlock()
	name := d.object.GetName()
	if old, ok := r.seen[name]; ok {
		if old.digest != digest {
			return nil, false, fmt.Errorf("two different definitions of %s on one control plane: %s (%s) and %s (%s); use kube.Private for one of them",
				name, old.source, old.test, d.source, test)
		}
		return old.served, false, nil
	}
	if r.seen == nil {
		r.seen = map[string]crdOrigin{}
	}
	r.seen[name] = crdOrigin{digest: digest, test: test, source: d.source, served: make(chan struct{})}
	return nil, true, nil
}

func (r *crdRegistry) confirm(d crd) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.seen[d.object.GetName()].served)
}

// drop forgets claims that came to nothing; who waits for them looks again at
// its own cost: its requests will fail.
func (r *crdRegistry) drop(crds []crd) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range crds {
		close(r.seen[d.object.GetName()].served)
		delete(r.seen, d.object.GetName())
	}
}

// awaitServed waits until the definition is established and every version that
// it serves is in discovery.
func (c *Cluster) awaitServed(ctx context.Context, client dynamic.Interface, want *unstructured.Unstructured) error {
	disco, err := discovery.NewDiscoveryClientForConfig(c.Config())
	if err != nil {
		return err
	}
	tick := time.NewTicker(crdPoll)
	defer tick.Stop()
	var last error
	for {
		live, err := client.Resource(crdResource).Get(ctx, want.GetName(), metav1.GetOptions{})
		switch {
		case err != nil:
			last = err
		case !established(live):
			last = errors.New("not established: " + conditionText(live))
		default:
			if last = inDiscovery(ctx, disco, live); last == nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), last)
		case <-tick.C:
		}
	}
}

func established(live *unstructured.Unstructured) bool {
	return strings.Contains(conditionText(live), "Established=True")
}

func conditionText(live *unstructured.Unstructured) string {
	conditions, _, _ := unstructured.NestedSlice(live.Object, "status", "conditions")
	var text []string
	for _, one := range conditions {
		if m, ok := one.(map[string]any); ok {
			text = append(text, fmt.Sprintf("%v=%v %v", m["type"], m["status"], m["message"]))
		}
	}
	return strings.Join(text, "; ")
}

func inDiscovery(ctx context.Context, disco *discovery.DiscoveryClient, live *unstructured.Unstructured) error {
	group, _, _ := unstructured.NestedString(live.Object, "spec", "group")
	plural, _, _ := unstructured.NestedString(live.Object, "spec", "names", "plural")
	versions, _, _ := unstructured.NestedSlice(live.Object, "spec", "versions")
	for _, one := range versions {
		m, ok := one.(map[string]any)
		if !ok || m["served"] != true {
			continue
		}
		gv := fmt.Sprintf("%s/%v", group, m["name"])
		list, err := disco.ServerResourcesForGroupVersionWithContext(ctx, gv)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == plural }) {
			return fmt.Errorf("%s is not in discovery of %s", plural, gv)
		}
	}
	return nil
}

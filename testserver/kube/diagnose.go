// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// Limits of what a failed test's log gets; together at most 64 KiB.
const (
	diagnoseLog     = 24 << 10
	maxNamespaceLog = 40 << 10
	// readLog is how much of the end of the log is searched.
	readLog = 1 << 20
)

// diagnose adds to the log of a failed test what the control plane says.
func (c *Cluster) diagnose(tb testing.TB) {
	tb.Helper()
	if !tb.Failed() {
		return
	}
	if log := c.s.logTail(diagnoseLog); log != "" {
		tb.Logf("kube: warnings and errors of the control plane, latest last:\n%s", log)
	}
}

// logTail returns the last warnings and errors of the components.
func (s *server) logTail(limit int) string {
	if s.dataDir == "" {
		return ""
	}
	f, err := os.Open(filepath.Join(s.dataDir, logFile))
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	s.mu.Lock()
	from := s.logFrom
	s.mu.Unlock()
	if info, err := f.Stat(); err == nil {
		from = max(from, info.Size()-readLog)
	}
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return ""
	}
	b, err := io.ReadAll(io.LimitReader(f, readLog)) //nolint:forbidigo // bounded
	if err != nil {
		return ""
	}
	var lines []string
	size := 0
	for _, line := range slices.Backward(strings.Split(string(b), "\n")) {
		if !strings.HasPrefix(line, "W") && !strings.HasPrefix(line, "E") && !strings.HasPrefix(line, "F") {
			continue
		}
		if size += len(line) + 1; size > limit {
			break
		}
		lines = append(lines, line)
	}
	slices.Reverse(lines)
	return strings.Join(lines, "\n")
}

// diagnoseNamespace adds events and objects that are not ready to the log.
func (c *Cluster) diagnoseNamespace(tb testing.TB, ns string) {
	tb.Helper()
	var b strings.Builder
	c.writeEvents(tb, &b, ns)
	c.writeNotReady(tb, &b, ns)
	if text := b.String(); text != "" {
		tb.Logf("kube: namespace %s:\n%s", ns, text[:min(len(text), maxNamespaceLog)])
	}
}

func (c *Cluster) writeEvents(tb testing.TB, b *strings.Builder, ns string) {
	tb.Helper()
	events, err := c.client(tb).CoreV1().Events(ns).List(cleanupContext(tb), metav1.ListOptions{Limit: 500})
	if err != nil {
		_, _ = fmt.Fprintf(b, "events: %v\n", err)
		return
	}
	slices.SortStableFunc(events.Items, func(x, y corev1.Event) int { return eventTime(x).Compare(eventTime(y).Time) })
	for _, e := range events.Items[max(0, len(events.Items)-100):] {
		_, _ = fmt.Fprintf(b, "event %s %s/%s %s: %s\n", e.Type, e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Reason, e.Message)
	}
}

func eventTime(e corev1.Event) metav1.Time {
	if !e.LastTimestamp.IsZero() {
		return e.LastTimestamp
	}
	return metav1.NewTime(e.EventTime.Time)
}

// writeNotReady lists objects with a false Ready, Available or Healthy
// condition, of all kinds.
func (c *Cluster) writeNotReady(tb testing.TB, b *strings.Builder, ns string) {
	tb.Helper()
	config := c.Config()
	config.WarningHandler = rest.NoWarnings{} // about kinds that are on their way out
	disco, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return
	}
	ctx := cleanupContext(tb)
	lists, _ := disco.ServerPreferredNamespacedResourcesWithContext(ctx)
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return
	}
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			continue
		}
		for _, r := range list.APIResources {
			if !slices.Contains(r.Verbs, "list") || r.Kind == "Event" || r.Kind == "Secret" {
				continue
			}
			objects, err := client.Resource(gv.WithResource(r.Name)).Namespace(ns).List(ctx, metav1.ListOptions{Limit: 100})
			if err != nil {
				continue
			}
			for _, o := range objects.Items {
				if text := notReady(&o); text != "" {
					_, _ = fmt.Fprintf(b, "not ready %s/%s: %s\n", r.Kind, o.GetName(), text)
				}
			}
		}
	}
}

func notReady(o *unstructured.Unstructured) string {
	if o.GetDeletionTimestamp() != nil {
		return "being deleted, finalizers " + strings.Join(o.GetFinalizers(), ", ")
	}
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, one := range conditions {
		m, ok := one.(map[string]any)
		if !ok || m["status"] == "True" {
			continue
		}
		switch m["type"] {
		case "Ready", "Available", "Healthy":
			return fmt.Sprintf("%v=%v %v: %v", m["type"], m["status"], m["reason"], m["message"])
		}
	}
	return ""
}

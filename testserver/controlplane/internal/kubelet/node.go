// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
)

func (k *Kubelet) register(ctx context.Context, name string, index int) error {
	nodes := k.client.CoreV1().Nodes()
	node, err := nodes.Create(ctx, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			corev1.LabelHostname:   name,
			corev1.LabelOSStable:   runtime.GOOS,
			corev1.LabelArchStable: runtime.GOARCH,
		}},
		Spec: corev1.NodeSpec{
			PodCIDR:    fmt.Sprintf("10.88.%d.0/24", index),
			PodCIDRs:   []string{fmt.Sprintf("10.88.%d.0/24", index)},
			ProviderID: "gitops-kit://" + name,
		},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		node, err = nodes.Get(ctx, name, metav1.GetOptions{})
	}
	if err != nil {
		return err
	}
	node.Status = k.nodeStatus(name)
	_, err = nodes.UpdateStatus(ctx, node, metav1.UpdateOptions{})
	return err
}

func (k *Kubelet) nodeStatus(name string) corev1.NodeStatus {
	size := corev1.ResourceList{
		corev1.ResourceCPU:              resource.MustParse("1000"),
		corev1.ResourceMemory:           resource.MustParse("1Ti"),
		corev1.ResourceEphemeralStorage: resource.MustParse("10Ti"),
		corev1.ResourcePods:             resource.MustParse("10000"),
	}
	now := metav1.Now()
	condition := func(t corev1.NodeConditionType, s corev1.ConditionStatus, reason string) corev1.NodeCondition {
		return corev1.NodeCondition{Type: t, Status: s, Reason: reason, LastHeartbeatTime: now, LastTransitionTime: now}
	}
	var port int32
	if a, ok := k.listener.Addr().(*net.TCPAddr); ok {
		port = int32(a.Port) //nolint:gosec // a port fits
	}
	return corev1.NodeStatus{
		Capacity:    size,
		Allocatable: size.DeepCopy(),
		Conditions: []corev1.NodeCondition{
			condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory"),
			condition(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure"),
			condition(corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID"),
			condition(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady"),
		},
		Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: address},
			{Type: corev1.NodeHostName, Address: name},
		},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: port}},
		NodeInfo: corev1.NodeSystemInfo{
			MachineID: name, SystemUUID: name, BootID: name, KernelVersion: "0.0.0", OSImage: "gitops-kit",
			ContainerRuntimeVersion: "none://0.0.0", KubeletVersion: k.opts.Version,
			OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH,
		},
	}
}

func (k *Kubelet) renew(ctx context.Context, name string) {
	ticker := time.NewTicker(renewEvery)
	defer ticker.Stop()
	for {
		if err := k.renewLease(ctx, name, time.Now()); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Renewing node lease", "node", name)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (k *Kubelet) renewLease(ctx context.Context, name string, now time.Time) error {
	leases := k.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	spec := coordinationv1.LeaseSpec{
		HolderIdentity:       ptr.To(name),
		LeaseDurationSeconds: ptr.To[int32](leaseSeconds),
		RenewTime:            ptr.To(metav1.NewMicroTime(now)),
	}
	lease, err := leases.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		err = k.createLease(ctx, name, spec)
		return err
	}
	if err != nil {
		return err
	}
	lease.Spec = spec
	_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
	return err
}

// createLease retries while the namespace of the leases, which the API server
// makes shortly after it is ready, is not there yet.
func (k *Kubelet) createLease(ctx context.Context, name string, spec coordinationv1.LeaseSpec) error {
	leases := k.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		_, err := leases.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{})
		if !apierrors.IsNotFound(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// serve answers every request to a node, such as for logs or for a command to
// be run in a container, with 501: no container runs.
func (k *Kubelet) serve(ctx context.Context) {
	cert, err := tls.LoadX509KeyPair(k.opts.CertFile, k.opts.KeyFile)
	if err != nil {
		klog.FromContext(ctx).Error(err, "Serving the nodes' API")
		_ = k.listener.Close()
		return
	}
	server := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotImplemented)
			_, _ = io.WriteString(w, "not implemented: this node runs no containers\n")
		}),
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	_ = server.ServeTLS(k.listener, "", "")
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
)

// Components selects what runs.
type Components int

const (
	// APIServer is etcd and kube-apiserver, as envtest has it. Nothing acts on
	// objects: no garbage collection, deleted namespaces stay Terminating, no
	// tokens appear in Secrets, no default service accounts, no pods run.
	APIServer Components = iota
	// Full adds kube-controller-manager, kube-scheduler and nodes that play
	// pods: they become Ready, or do what their annotations say.
	Full
)

// String returns the name of c.
func (c Components) String() string {
	if c == Full {
		return "Full"
	}
	return "APIServer"
}

// Annotations on a pod, usually in a pod template, that choose its fate on the
// nodes of a Full control plane.
const (
	// ReadyAfter delays readiness, or the end of a pod that may end; a Go duration.
	ReadyAfter = "kubelet.gitops-kit.github.io/ready-after"
	// Fail is "image", "crash", "exit" or "never-ready".
	Fail = "kubelet.gitops-kit.github.io/fail"
	// ExitCode is the code with which containers end.
	ExitCode = "kubelet.gitops-kit.github.io/exit-code"
)

// Flags of the control plane beyond the usual.
type Flags struct {
	// APIServer are further flags of kube-apiserver, as "--name=value".
	APIServer []string
	// ControllerManager are further flags of kube-controller-manager.
	ControllerManager []string
	// Scheduler are further flags of kube-scheduler.
	Scheduler []string
	// FeatureGates of Kubernetes; they hold for all components.
	FeatureGates map[string]bool
	// RealDelays deletes namespaces and collects garbage with the delays of a
	// production cluster, seconds instead of milliseconds.
	RealDelays bool
	// Split runs each component in a process of its own, which [Cluster.Pause]
	// needs.
	Split bool
}

// Options of a control plane. The zero value is etcd and kube-apiserver.
type Options struct {
	// Components to run.
	Components Components
	// CRDs are files with CustomResourceDefinitions, or directories of such
	// files (.yaml, .yml, .json), installed before the cluster is returned.
	CRDs []string
	// CRDObjects are CustomResourceDefinitions, typed or unstructured,
	// installed likewise.
	CRDObjects []runtime.Object
	// Flags of the components.
	Flags Flags
	// Nodes is the number of nodes of a Full control plane. 0: two.
	Nodes int
	// Audit records every request with its bodies, which [Cluster.Requests]
	// needs.
	Audit bool
	// Env are further environment variables of the control plane.
	Env map[string]string
	// Kubeconfig names a file: the cluster of its current context is used, and
	// nothing is started. [Start] and [Private] also read KUBECONFIG, when
	// USE_EXISTING_CLUSTER is "true".
	Kubeconfig string
	// Progress receives a line every 15 s while the control plane is built,
	// which happens once on a machine. nil: standard error.
	Progress io.Writer
}

// serves says whether a cluster started with o can stand for one with want.
// Definitions are installed on demand and don't count.
func (o Options) serves(want Options) bool {
	return o.Components >= want.Components &&
		(o.Audit || !want.Audit) &&
		o.Kubeconfig == want.Kubeconfig &&
		(o.nodes() == want.nodes() || want.Components == APIServer && want.Nodes == 0) &&
		maps.Equal(o.Env, want.Env) &&
		slices.Equal(o.Flags.APIServer, want.Flags.APIServer) &&
		slices.Equal(o.Flags.ControllerManager, want.Flags.ControllerManager) &&
		slices.Equal(o.Flags.Scheduler, want.Flags.Scheduler) &&
		maps.Equal(o.Flags.FeatureGates, want.Flags.FeatureGates) &&
		o.Flags.RealDelays == want.Flags.RealDelays && o.Flags.Split == want.Flags.Split
}

func (o Options) nodes() int {
	if o.Nodes <= 0 {
		return 2
	}
	return o.Nodes
}

// args are the flags of the program for o.
func (o Options) args(dataDir string, port int) []string {
	args := []string{
		"--control",
		"--data-dir=" + dataDir,
		fmt.Sprintf("--port=%d", port),
		fmt.Sprintf("--nodes=%d", o.nodes()),
	}
	if o.Components == APIServer {
		args = append(args, "--components=apiserver")
	}
	if o.Audit {
		args = append(args, "--audit="+filepath.Join(dataDir, auditFile))
	}
	if o.Flags.RealDelays {
		args = append(args, "--real-delays")
	}
	if o.Flags.Split {
		args = append(args, "--split")
	}
	if gates := o.Flags.gates(); gates != "" {
		args = append(args, "--feature-gates="+gates)
	}
	for _, f := range o.Flags.APIServer {
		args = append(args, "--apiserver-flag="+f)
	}
	for _, f := range o.Flags.ControllerManager {
		args = append(args, "--controller-manager-flag="+f)
	}
	for _, f := range o.Flags.Scheduler {
		args = append(args, "--scheduler-flag="+f)
	}
	return args
}

func (f Flags) gates() string {
	var text strings.Builder
	for i, name := range slices.Sorted(maps.Keys(f.FeatureGates)) {
		if i > 0 {
			text.WriteString(",")
		}
		text.WriteString(fmt.Sprintf("%s=%t", name, f.FeatureGates[name]))
	}
	return text.String()
}

// existing names the kubeconfig of the cluster to use instead of a new one,
// or "".
func (o Options) existing() (string, error) {
	if o.Kubeconfig != "" {
		return o.Kubeconfig, nil
	}
	if os.Getenv("USE_EXISTING_CLUSTER") != "true" {
		return "", nil
	}
	if file := os.Getenv("KUBECONFIG"); file != "" {
		return file, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", errors.New("USE_EXISTING_CLUSTER is true, but KUBECONFIG is not set")
	}
	return filepath.Join(home, ".kube", "config"), nil
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/spf13/pflag"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	kustomizev1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	sourcev1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/controllers/source"
	"github.com/gitops-kit/sdk/kustomize"
)

// installation builds the default installation, by kind and name.
func installation(t *testing.T) map[string]*unstructured.Unstructured {
	t.Helper()
	return build(t, "default")
}

func build(t *testing.T, dir string) map[string]*unstructured.Unstructured {
	t.Helper()
	g := NewWithT(t)
	res, err := kustomize.New(kustomize.BuilderOptions{}).Build(t.Context(), kustomize.Options{Root: os.DirFS("."), Dir: dir})
	g.Expect(err).NotTo(HaveOccurred())
	out := map[string]*unstructured.Unstructured{}
	for _, o := range res.Objects {
		out[o.GetKind()+"/"+o.GetName()] = o.Unstructured
	}
	return out
}

func as[T any](t *testing.T, u *unstructured.Unstructured) *T {
	t.Helper()
	g := NewWithT(t)
	g.Expect(u).NotTo(BeNil())
	var out T
	g.Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &out)).To(Succeed())
	return &out
}

func TestEveryObjectIsLabelled(t *testing.T) { // WIRE-6
	for _, dir := range []string{"default", "replicas"} {
		everyObjectIsLabelled(t, build(t, dir))
	}
}

func everyObjectIsLabelled(t *testing.T, objects map[string]*unstructured.Unstructured) {
	t.Helper()
	g := NewWithT(t)
	g.Expect(objects).To(HaveKey("CustomResourceDefinition/gitrepositories.source.toolkit.fluxcd.io"))
	for name, o := range objects {
		l := o.GetLabels()
		g.Expect(l).To(HaveKeyWithValue("app.kubernetes.io/part-of", "flux"), name)
		g.Expect(l).To(HaveKeyWithValue("app.kubernetes.io/instance", "flux-system"), name)
		g.Expect(l).To(HaveKeyWithValue("app.kubernetes.io/version", HavePrefix("v")), name)
		switch {
		case strings.HasSuffix(name, ".kustomize.toolkit.fluxcd.io"), strings.HasSuffix(name, "/kustomize-controller"):
			g.Expect(l).To(HaveKeyWithValue("app.kubernetes.io/component", "kustomize-controller"), name)
		case strings.HasSuffix(name, ".source.toolkit.fluxcd.io"), strings.HasSuffix(name, "/source-controller"):
			g.Expect(l).To(HaveKeyWithValue("app.kubernetes.io/component", "source-controller"), name)
		}
	}
}

func TestDeployments(t *testing.T) { // WIRE-1, WIRE-2, WIRE-3, WIRE-4, WIRE-5
	objects := installation(t)
	for name, want := range map[string]struct {
		args     []string
		ports    []string
		grace    int64
		cpu      string
		strategy appsv1.DeploymentStrategyType
	}{
		"source-controller": {
			args: []string{
				"--events-addr=http://notification-controller.flux-system.svc.cluster.local./",
				"--watch-all-namespaces=true", "--log-level=info", "--log-encoding=json", "--enable-leader-election",
				"--storage-path=/data", "--storage-adv-addr=source-controller.$(RUNTIME_NAMESPACE).svc.cluster.local.",
			},
			ports: []string{"http", "http-prom", "healthz"}, grace: 10, cpu: "50m", strategy: appsv1.RecreateDeploymentStrategyType,
		},
		"kustomize-controller": {
			args: []string{
				"--events-addr=http://notification-controller.flux-system.svc.cluster.local./",
				"--watch-all-namespaces=true", "--log-level=info", "--log-encoding=json", "--enable-leader-election",
			},
			ports: []string{"http-prom", "healthz"}, grace: 60, cpu: "100m",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			d := as[appsv1.Deployment](t, objects["Deployment/"+name])
			pod := d.Spec.Template
			c := pod.Spec.Containers[0]
			g.Expect(c.Name).To(Equal("manager"))
			g.Expect(c.Args).To(Equal(want.args))
			g.Expect(c.Image).To(MatchRegexp(`^[a-z0-9./-]+/` + name + `:v\d+\.\d+\.\d+$`))
			var ports []string
			for _, p := range c.Ports {
				ports = append(ports, p.Name)
			}
			g.Expect(ports).To(Equal(want.ports))
			g.Expect(*d.Spec.Replicas).To(Equal(int32(1)))
			g.Expect(d.Spec.Strategy.Type).To(Equal(want.strategy))
			g.Expect(d.Labels).To(HaveKeyWithValue("control-plane", "controller"))
			g.Expect(d.Spec.Selector.MatchLabels).To(Equal(map[string]string{"app": name}))
			g.Expect(pod.Labels).To(HaveKeyWithValue("app", name))
			g.Expect(pod.Annotations).To(And(HaveKeyWithValue("prometheus.io/scrape", "true"), HaveKeyWithValue("prometheus.io/port", "8080")))
			g.Expect(*pod.Spec.TerminationGracePeriodSeconds).To(Equal(want.grace))
			g.Expect(pod.Spec.PriorityClassName).To(Equal("system-cluster-critical"))
			g.Expect(*pod.Spec.SecurityContext.FSGroup).To(Equal(int64(1337)))
			s := c.SecurityContext
			g.Expect(*s.RunAsNonRoot && *s.ReadOnlyRootFilesystem && !*s.AllowPrivilegeEscalation).To(BeTrue())
			g.Expect(s.Capabilities.Drop).To(Equal([]corev1.Capability{"ALL"}))
			g.Expect(s.SeccompProfile.Type).To(Equal(corev1.SeccompProfileTypeRuntimeDefault))
			g.Expect(c.Resources.Requests.Cpu().String()).To(Equal(want.cpu))
			g.Expect(c.Resources.Limits.Memory().String()).To(Equal("1Gi"))
			g.Expect(c.LivenessProbe.HTTPGet.Path).To(Equal("/healthz"))
			env := map[string]bool{}
			for _, e := range c.Env {
				env[e.Name] = true
			}
			g.Expect(env).To(And(HaveKey("RUNTIME_NAMESPACE"), HaveKey("GOMEMLIMIT")))
			if name == "source-controller" {
				g.Expect(env).To(HaveKey("TUF_ROOT"))
				g.Expect(c.ReadinessProbe.HTTPGet.Path).To(Equal("/"))
				g.Expect(c.ReadinessProbe.HTTPGet.Port.String()).To(Equal("http"))
			}
		})
	}
	g := NewWithT(t)
	s := as[corev1.Service](t, objects["Service/source-controller"])
	g.Expect(s.Spec.Selector).To(Equal(map[string]string{"app": "source-controller"}))
	g.Expect(s.Spec.Ports[0].Port).To(Equal(int32(80)))
	g.Expect(s.Spec.Ports[0].TargetPort.String()).To(Equal("http"))
	g.Expect(objects).To(HaveKey("ResourceQuota/critical-pods"))
}

// SRC-76, D13, WIRE-2, WIRE-4: the overlay for two source controllers changes
// their Deployment, and nothing else; what clients patch by index stays where it
// is; the controller accepts the flags.
func TestReplicas(t *testing.T) {
	g := NewWithT(t)
	one, two := installation(t), build(t, "replicas")
	const name = "Deployment/source-controller"
	before, d := as[appsv1.Deployment](t, one[name]), as[appsv1.Deployment](t, two[name])
	budget := as[policyv1.PodDisruptionBudget](t, two["PodDisruptionBudget/source-controller"])
	g.Expect(budget.Namespace).To(Equal(d.Namespace))
	g.Expect(budget.Spec.MinAvailable.IntValue()).To(Equal(1))
	g.Expect(budget.Spec.Selector).To(Equal(d.Spec.Selector))
	for _, objects := range []map[string]*unstructured.Unstructured{one, two} {
		delete(objects, name)
		delete(objects, "PodDisruptionBudget/source-controller")
	}
	g.Expect(two).To(Equal(one))

	args := d.Spec.Template.Spec.Containers[0].Args
	n := len(before.Spec.Template.Spec.Containers[0].Args)
	g.Expect(args[:n]).To(Equal(before.Spec.Template.Spec.Containers[0].Args))
	g.Expect(args).To(ContainElement("--enable-leader-election"))
	var f source.Flags
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.AddFlags(fs)
	g.Expect(fs.Parse(append([]string{"--storage-path=/data"}, args[n:]...))).To(Succeed())
	g.Expect(f.Validate()).To(Succeed())
	g.Expect(f.StorageBackend).To(Equal("oci"))
	g.Expect(source.NewStorage(f, nil).NeedLeaderElection()).To(BeFalse(), "every replica serves, so that every one is ready")

	g.Expect(*d.Spec.Replicas).To(Equal(int32(2)))
	g.Expect(d.Spec.Strategy.Type).To(Equal(appsv1.RollingUpdateDeploymentStrategyType))
	g.Expect(d.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue()).To(BeZero())
	pod := d.Spec.Template.Spec
	g.Expect(pod.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution[0].PodAffinityTerm.LabelSelector).To(Equal(d.Spec.Selector))
	mounts := map[string]string{}
	for _, m := range pod.Containers[0].VolumeMounts {
		mounts[m.Name] = m.MountPath
	}
	g.Expect(mounts).To(Equal(map[string]string{"data": "/data", "tmp": "/tmp", "registry": "/etc/registry"}))
	g.Expect(f.StorageOCISecret).To(HavePrefix(mounts["registry"] + "/" + corev1.DockerConfigJsonKey))
	for _, v := range pod.Volumes {
		switch v.Name {
		case "registry":
			g.Expect(v.Secret.SecretName).NotTo(BeEmpty())
		default:
			g.Expect(v.EmptyDir).NotTo(BeNil(), "a cache of its own: %s", v.Name)
		}
	}
	before.Spec.Replicas, before.Spec.Strategy, before.Spec.Template.Spec = d.Spec.Replicas, d.Spec.Strategy, pod
	g.Expect(before).To(Equal(d), "nothing else changed")
}

func TestRBAC(t *testing.T) { // WIRE-7
	g := NewWithT(t)
	objects := installation(t)
	for _, name := range []string{
		"ClusterRole/crd-controller-flux-system", "ClusterRoleBinding/crd-controller-flux-system", "ClusterRoleBinding/cluster-reconciler-flux-system",
		"ClusterRole/flux-view-flux-system", "ClusterRole/flux-edit-flux-system", "Role/inventory", "RoleBinding/inventory",
		"NetworkPolicy/allow-egress", "NetworkPolicy/allow-scraping", "NetworkPolicy/allow-webhooks",
		"ServiceAccount/source-controller", "ServiceAccount/kustomize-controller",
	} {
		g.Expect(objects).To(HaveKey(name))
	}
	admin := as[rbacv1.ClusterRoleBinding](t, objects["ClusterRoleBinding/cluster-reconciler-flux-system"])
	g.Expect(admin.RoleRef.Name).To(Equal("cluster-admin"))
	for _, s := range admin.Subjects {
		g.Expect(s.Name).To(BeElementOf("kustomize-controller", "helm-controller"))
	}
}

func TestSamplesDecode(t *testing.T) { // WIRE-34
	g := NewWithT(t)
	files, err := filepath.Glob("samples/*.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).NotTo(BeEmpty())
	for _, file := range files {
		body, err := os.ReadFile(file)
		g.Expect(err).NotTo(HaveOccurred())
		for doc := range strings.SplitSeq(string(body), "\n---\n") {
			var into any = &sourcev1.GitRepository{}
			if strings.Contains(doc, "kind: Kustomization\n") {
				into = &kustomizev1.Kustomization{}
			}
			g.Expect(yaml.UnmarshalStrict([]byte(doc), into)).To(Succeed(), file)
		}
	}
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/gitops-kit/sdk/testserver/kube"
)

// soon is long enough for a machine that has much else to do.
const soon = 2 * time.Minute

func template(labels, annotations map[string]string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: annotations},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.test/app:1"}}},
	}
}

func deployment(replicas int32, annotations map[string]string) *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{
		Replicas: new(replicas), Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: template(labels, annotations),
	}}
}

func full(t *testing.T) (*kube.Cluster, kubernetes.Interface, string) {
	t.Helper()
	c := shared(t)
	return c, clientOf(t, c.Config()), c.Namespace(t)
}

// TST-37
func TestWorkloadsBecomeReady(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	_, client, ns := full(t)
	labels := map[string]string{"app": "x"}
	selector := &metav1.LabelSelector{MatchLabels: labels}
	ctx := t.Context()
	_, err := client.AppsV1().Deployments(ns).Create(ctx, deployment(3, nil), metav1.CreateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = client.AppsV1().StatefulSets(ns).Create(ctx, &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "db"},
		Spec:       appsv1.StatefulSetSpec{Replicas: ptr.To[int32](2), Selector: selector, ServiceName: "db", Template: template(labels, nil)},
	}, metav1.CreateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = client.AppsV1().DaemonSets(ns).Create(ctx, &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "agent"},
		Spec:       appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "agent"}}, Template: template(map[string]string{"app": "agent"}, nil)},
	}, metav1.CreateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	job := batchv1.JobSpec{Template: template(nil, nil)}
	job.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	_, err = client.BatchV1().Jobs(ns).Create(ctx, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "once"}, Spec: job}, metav1.CreateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = client.BatchV1().CronJobs(ns).Create(ctx, &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Name: "often"},
		Spec:       batchv1.CronJobSpec{Schedule: "* * * * *", JobTemplate: batchv1.JobTemplateSpec{Spec: job}},
	}, metav1.CreateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = client.AutoscalingV2().HorizontalPodAutoscalers(ns).Create(ctx, &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       autoscalingv2.HorizontalPodAutoscalerSpec{MaxReplicas: 5, ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}},
	}, metav1.CreateOptions{})
	g.Expect(err).NotTo(HaveOccurred())

	g.Eventually(ctx, func(g Gomega) {
		d, err := client.AppsV1().Deployments(ns).Get(ctx, "web", metav1.GetOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(d.Status.AvailableReplicas).To(BeEquivalentTo(3))
		s, err := client.AppsV1().StatefulSets(ns).Get(ctx, "db", metav1.GetOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(s.Status.AvailableReplicas).To(BeEquivalentTo(2))
		a, err := client.AppsV1().DaemonSets(ns).Get(ctx, "agent", metav1.GetOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(a.Status.NumberReady).To(BeEquivalentTo(2))
		j, err := client.BatchV1().Jobs(ns).Get(ctx, "once", metav1.GetOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(j.Status.Succeeded).To(BeEquivalentTo(1))
		g.Expect(j.Status.CompletionTime).NotTo(BeNil())
	}).WithTimeout(soon).Should(Succeed())

	pods, err := client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
	g.Expect(err).NotTo(HaveOccurred())
	ips := map[string]bool{}
	for _, p := range pods.Items {
		ips[p.Status.PodIP] = true
		g.Expect(p.Status.ObservedGeneration).To(Equal(p.Generation))
		g.Expect(p.Status.ContainerStatuses).To(HaveLen(1))
		g.Expect(p.Status.ContainerStatuses[0].State.Running).NotTo(BeNil())
	}
	g.Expect(ips).To(HaveLen(len(pods.Items)), "pods have addresses of their own")
}

// TST-37
func TestPodFates(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	_, client, ns := full(t)
	ctx := t.Context()
	pod := func(name string, policy corev1.RestartPolicy, annotations map[string]string) {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}, Spec: template(nil, nil).Spec}
		p.Spec.RestartPolicy = policy
		g.Eventually(ctx, func() error { // until the namespace has its service account
			_, err := client.CoreV1().Pods(ns).Create(ctx, p, metav1.CreateOptions{})
			return err
		}).WithTimeout(soon).Should(Succeed())
	}
	pod("image", corev1.RestartPolicyAlways, map[string]string{kube.Fail: "image"})
	pod("crash", corev1.RestartPolicyAlways, map[string]string{kube.Fail: "crash", kube.ExitCode: "7"})
	pod("never-ready", corev1.RestartPolicyAlways, map[string]string{kube.Fail: "never-ready"})
	pod("exit", corev1.RestartPolicyNever, map[string]string{kube.ExitCode: "3"})
	pod("done", corev1.RestartPolicyNever, nil)
	pod("slow", corev1.RestartPolicyAlways, map[string]string{kube.ReadyAfter: "1500ms"})

	get := func(name string) corev1.PodStatus {
		p, err := client.CoreV1().Pods(ns).Get(ctx, name, metav1.GetOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		return p.Status
	}
	eventually := func(name string, check func(g Gomega, s corev1.PodStatus)) {
		g.Eventually(ctx, func(g Gomega) {
			s := get(name)
			g.Expect(s.ContainerStatuses).NotTo(BeEmpty())
			check(g, s)
		}).WithTimeout(soon).Should(Succeed(), name)
	}
	eventually("image", func(g Gomega, s corev1.PodStatus) {
		g.Expect(s.Phase).To(Equal(corev1.PodPending))
		g.Expect(s.ContainerStatuses[0].State.Waiting.Reason).To(Equal("ImagePullBackOff"))
	})
	eventually("crash", func(g Gomega, s corev1.PodStatus) {
		g.Expect(s.Phase).To(Equal(corev1.PodRunning))
		g.Expect(s.ContainerStatuses[0].State.Waiting.Reason).To(Equal("CrashLoopBackOff"))
		g.Expect(s.ContainerStatuses[0].LastTerminationState.Terminated.ExitCode).To(BeEquivalentTo(7))
	})
	eventually("exit", func(g Gomega, s corev1.PodStatus) {
		g.Expect(s.Phase).To(Equal(corev1.PodFailed))
		g.Expect(s.ContainerStatuses[0].State.Terminated.ExitCode).To(BeEquivalentTo(3))
	})
	eventually("done", func(g Gomega, s corev1.PodStatus) { g.Expect(s.Phase).To(Equal(corev1.PodSucceeded)) })
	eventually("never-ready", func(g Gomega, s corev1.PodStatus) {
		g.Expect(s.Phase).To(Equal(corev1.PodRunning))
		g.Expect(s.ContainerStatuses[0].Ready).To(BeFalse())
	})
	eventually("slow", func(g Gomega, s corev1.PodStatus) { g.Expect(s.ContainerStatuses[0].Ready).To(BeTrue()) })
	slow := get("slow")
	for _, c := range slow.Conditions {
		if c.Type == corev1.PodReady {
			g.Expect(c.LastTransitionTime.Sub(slow.StartTime.Time)).To(BeNumerically(">=", time.Second))
		}
	}

	err := client.CoreV1().Pods(ns).Delete(ctx, "slow", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](60)})
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(ctx, func() bool {
		_, err := client.CoreV1().Pods(ns).Get(ctx, "slow", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}).WithTimeout(soon).Should(BeTrue(), "graceful deletion ends at once")

	_, err = client.CoreV1().Pods(ns).GetLogs("crash", &corev1.PodLogOptions{}).DoRaw(ctx)
	var status apierrors.APIStatus
	g.Expect(err).To(BeAssignableToTypeOf(&apierrors.StatusError{}))
	g.Expect(asStatus(err, &status)).To(BeTrue())
	g.Expect(status.Status().Code).To(BeEquivalentTo(http.StatusNotImplemented), "%v", err)
}

func asStatus(err error, s *apierrors.APIStatus) bool {
	e, ok := err.(apierrors.APIStatus)
	*s = e
	return ok
}

// TST-37
func TestFailedRolloutMissesItsDeadline(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	_, client, ns := full(t)
	d := deployment(1, map[string]string{kube.Fail: "image"})
	d.Spec.ProgressDeadlineSeconds = ptr.To[int32](1)
	_, err := client.AppsV1().Deployments(ns).Create(t.Context(), d, metav1.CreateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(t.Context(), func(g Gomega) {
		d, err := client.AppsV1().Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(d.Status.Conditions).To(ContainElement(HaveField("Reason", "ProgressDeadlineExceeded")))
	}).WithTimeout(soon).Should(Succeed())
}

// TST-36
func TestNamespaceDeletion(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	c := shared(t)
	client := clientOf(t, c.Config())
	ctx := t.Context()
	ns := c.Name(t, "gone")
	_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = client.AppsV1().Deployments(ns).Create(ctx, deployment(3, nil), metav1.CreateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(ctx, func() (int32, error) {
		d, err := client.AppsV1().Deployments(ns).Get(ctx, "web", metav1.GetOptions{})
		return d.Status.AvailableReplicas, err
	}).WithTimeout(soon).Should(BeEquivalentTo(3))
	begin := time.Now()
	g.Expect(client.CoreV1().Namespaces().Delete(ctx, ns, metav1.DeleteOptions{})).To(Succeed())
	g.Eventually(ctx, func() bool {
		_, err := client.CoreV1().Namespaces().Get(ctx, ns, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}).WithTimeout(soon).WithPolling(20 * time.Millisecond).Should(BeTrue())
	t.Logf("namespace with content gone after %s", time.Since(begin).Round(time.Millisecond))
}

// widget is a kind with a CEL rule, of a group of the test's own.
func widget(group string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	text := fmt.Sprintf(`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"widgets.%[1]s"},
	"spec":{"group":%[1]q,"scope":"Namespaced","names":{"plural":"widgets","singular":"widget","kind":"Widget","listKind":"WidgetList"},
	"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{
	"spec":{"type":"object","properties":{"size":{"type":"integer"}},"x-kubernetes-validations":[{"rule":"self.size < 10","message":"too big"}]}}}}}]}}`, group)
	if err := u.UnmarshalJSON([]byte(text)); err != nil {
		panic(err)
	}
	return u
}

func newWidget(group, name string, size int64) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": group + "/v1", "kind": "Widget",
		"metadata": map[string]any{"name": name}, "spec": map[string]any{"size": size},
	}}
}

// TST-36
func TestCustomResources(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	const group = "gc.example.test"
	shared(t)
	c := kube.Start(t, kube.Options{Components: kube.Full, CRDObjects: []runtime.Object{widget(group)}})
	ctx := t.Context()
	ns := c.Namespace(t)
	client := clientOf(t, c.Config())
	dyn, err := dynamic.NewForConfig(c.Config())
	g.Expect(err).NotTo(HaveOccurred())
	widgets := dyn.Resource(schema.GroupVersionResource{Group: group, Version: "v1", Resource: "widgets"}).Namespace(ns)
	_, err = widgets.Create(ctx, newWidget(group, "big", 11), metav1.CreateOptions{})
	g.Expect(apierrors.IsInvalid(err)).To(BeTrue(), "the CEL rule: %v", err)
	owner, err := widgets.Create(ctx, newWidget(group, "owner", 1), metav1.CreateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	child := configMap("child")
	child.OwnerReferences = []metav1.OwnerReference{{APIVersion: group + "/v1", Kind: "Widget", Name: "owner", UID: owner.GetUID(), BlockOwnerDeletion: new(true)}}
	_, err = client.CoreV1().ConfigMaps(ns).Create(ctx, child, metav1.CreateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	begin := time.Now()
	g.Expect(widgets.Delete(ctx, "owner", metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationForeground)})).To(Succeed())
	g.Eventually(ctx, func(g Gomega) {
		_, err := widgets.Get(ctx, "owner", metav1.GetOptions{})
		g.Expect(apierrors.IsNotFound(err)).To(BeTrue())
		_, err = client.CoreV1().ConfigMaps(ns).Get(ctx, "child", metav1.GetOptions{})
		g.Expect(apierrors.IsNotFound(err)).To(BeTrue(), "the child goes first")
	}).WithTimeout(soon).WithPolling(20 * time.Millisecond).Should(Succeed())
	t.Logf("foreground deletion of a new kind took %s", time.Since(begin).Round(time.Millisecond))
}

// TST-35
func TestAPIServerIsReal(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	c, client, ns := full(t)
	ctx := t.Context()

	// Server-side apply finds conflicts.
	apply := func(manager, value string) error {
		body := fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":%q}}`, value)
		_, err := client.CoreV1().ConfigMaps(ns).Patch(ctx, "a", types.ApplyPatchType, []byte(body), metav1.PatchOptions{FieldManager: manager})
		return err
	}
	g.Expect(apply("one", "1")).To(Succeed())
	g.Expect(apierrors.IsConflict(apply("two", "2"))).To(BeTrue())

	// Tokens authenticate, and RBAC decides.
	robot := c.ServiceAccount(t, ns, "robot", rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"configmaps"}})
	review, err := client.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: robot.BearerToken}}, metav1.CreateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(review.Status.User.Username).To(Equal("system:serviceaccount:" + ns + ":robot"))
	can := func(verb string) bool {
		r, err := clientOf(t, robot).AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: ns, Verb: verb, Resource: "configmaps"}},
		}, metav1.CreateOptions{})
		return err == nil && r.Status.Allowed
	}
	g.Eventually(ctx, func() bool { return can("get") }).WithTimeout(soon).Should(BeTrue())
	g.Expect(can("delete")).To(BeFalse())

	// The version is the real one, also in the metric.
	raw, err := client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(raw)).To(MatchRegexp(`kubernetes_build_info\{[^}]*git_version="v1\.37\.2"`))
	// So are the feature gates, which components do not report by themselves.
	g.Expect(string(raw)).To(MatchRegexp(`(?m)^kubernetes_feature_enabled\{name="APIServerIdentity",stage="BETA"\} 1$`))
	g.Expect(string(raw)).To(MatchRegexp(`(?m)^kubernetes_feature_enabled\{name="AllAlpha",stage="ALPHA"\} 0$`))

	// A service without selector keeps its address; the root CA is published.
	g.Eventually(ctx, func() error {
		_, err := client.CoreV1().ConfigMaps(ns).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		return err
	}).WithTimeout(soon).Should(Succeed())
}

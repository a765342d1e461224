// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package patch_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/runtime/internal/testapi"
	"github.com/gitops-kit/sdk/runtime/patch"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

type app = testapi.App

// server is an in-memory API that counts and can be made to misbehave.
type server struct {
	client.WithWatch
	patches, gets int
	before        func(n int, c client.Client) error // before the n-th status patch
	after         func(n int) error
	last          string
}

func newServer(t *testing.T) (*server, *app) {
	t.Helper()
	g := NewWithT(t)
	sch := runtime.NewScheme()
	g.Expect(testapi.AddToScheme(sch)).To(Succeed())
	s := &server{}
	s.WithWatch = fake.NewClientBuilder().WithScheme(sch).WithStatusSubresource(&app{}).
		WithObjects(&app{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a", Generation: 1, UID: "u"},
			Status:     testapi.AppStatus{ObservedGeneration: -1, Revision: "old"},
		}).
		WithInterceptorFuncs(interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
				s.gets++
				return c.Get(ctx, key, o, opts...)
			},
			SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
				s.patches++
				data, err := p.Data(o)
				if err != nil {
					return err
				}
				s.last = string(data)
				if s.before != nil {
					if err := s.before(s.patches, c); err != nil {
						return err
					}
				}
				if err := c.SubResource(sub).Patch(ctx, o, p, opts...); err != nil {
					return err
				}
				if s.after != nil {
					return s.after(s.patches)
				}
				return nil
			},
		}).Build()
	return s, s.read(t)
}

func (s *server) read(t *testing.T) *app {
	t.Helper()
	o := &app{}
	NewWithT(t).Expect(s.Get(t.Context(), types.NamespacedName{Namespace: "ns", Name: "a"}, o)).To(Succeed())
	s.gets = 0
	return o
}

func foreign(status string) func(int, client.Client) error {
	return func(n int, c client.Client) error {
		if n > 1 {
			return nil
		}
		o := &app{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a"}}
		return c.Status().Patch(context.Background(), o, client.RawPatch(types.MergePatchType, []byte(status)))
	}
}

// RT-20: one request with the resource version, none without a change.
func TestOneRequest(t *testing.T) {
	g := NewWithT(t)
	s, base := newServer(t)
	obj := base.DeepCopy()
	res, err := patch.Status(t.Context(), s, base, obj, patch.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res).To(Equal(patch.Result{}))
	g.Expect(s.patches).To(BeZero())

	version := base.ResourceVersion
	obj.Status.Revision, obj.Status.Applied, obj.Status.ObservedGeneration = "new", "", 1
	conditions.MarkTrue(obj, "Ready", "R", "m")
	res, err = patch.Status(t.Context(), s, base, obj, patch.Options{FieldManager: "me"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res).To(Equal(patch.Result{Written: true, Requests: 1}))
	g.Expect(s.last).To(And(ContainSubstring(`"resourceVersion":"`+version+`"`), Not(ContainSubstring("spec"))))
	g.Expect(obj.ResourceVersion).NotTo(Equal(version))
	g.Expect(base).To(Equal(obj), "RT-24: base advances")
	got := s.read(t)
	g.Expect(got.Status.Revision).To(Equal("new"))
	g.Expect(got.Status.ObservedGeneration).To(Equal(int64(1)))
	obj.Status.Revision = ""
	obj.Status.Conditions = nil
	_, err = patch.Status(t.Context(), s, base, obj, patch.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.read(t).Status.Revision).To(BeEmpty(), "what is gone is removed")
	g.Expect(s.read(t).Status.Conditions).To(BeEmpty())
}

// RT-21: conflicts once to six times.
func TestConflicts(t *testing.T) {
	for _, n := range []int{1, 2, 4, 6} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			g := NewWithT(t)
			s, base := newServer(t)
			s.before = func(i int, c client.Client) error {
				if i > n {
					return nil
				}
				o := &app{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a"}}
				body := fmt.Sprintf(`{"metadata":{"annotations":{"touched":"%d"}}}`, i)
				return c.Patch(context.Background(), o, client.RawPatch(types.MergePatchType, []byte(body)))
			}
			obj := base.DeepCopy()
			obj.Status.Revision = "new"
			res, err := patch.Status(t.Context(), s, base, obj, patch.Options{})
			if n >= 5 {
				g.Expect(errors.Is(err, patch.ErrConflict)).To(BeTrue())
				g.Expect(s.patches).To(Equal(5), "five tries at most")
				g.Expect(s.read(t).Status.Revision).To(Equal("old"))
				g.Expect(res.Written).To(BeFalse())
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(s.patches).To(Equal(n + 1))
			g.Expect(s.gets).To(Equal(n), "one GET per conflict")
			g.Expect(s.read(t).Status.Revision).To(Equal("new"))
		})
	}
}

// RT-21: what somebody else did meanwhile.
func TestForeignChanges(t *testing.T) {
	t.Run("OtherField", func(t *testing.T) {
		g := NewWithT(t)
		s, base := newServer(t)
		s.before = foreign(`{"status":{"applied":"theirs"}}`)
		obj := base.DeepCopy()
		obj.Status.Revision = "ours"
		_, err := patch.Status(t.Context(), s, base, obj, patch.Options{})
		g.Expect(err).NotTo(HaveOccurred())
		got := s.read(t)
		g.Expect(got.Status.Revision + " " + got.Status.Applied).To(Equal("ours theirs"))
	})
	t.Run("SameField", func(t *testing.T) {
		g := NewWithT(t)
		s, base := newServer(t)
		s.before = foreign(`{"status":{"revision":"theirs"}}`)
		obj := base.DeepCopy()
		obj.Status.Revision = "ours"
		_, err := patch.Status(t.Context(), s, base, obj, patch.Options{})
		var ce *patch.StatusConflictError
		g.Expect(errors.As(err, &ce)).To(BeTrue())
		g.Expect(ce.Fields).To(Equal([]string{"revision"}))
		g.Expect(ce.Terminal()).To(BeFalse())
		g.Expect(s.read(t).Status.Revision).To(Equal("theirs"), "nothing was lost")
	})
	t.Run("SameValue", func(t *testing.T) {
		g := NewWithT(t)
		s, base := newServer(t)
		s.before = foreign(`{"status":{"revision":"ours"}}`)
		obj := base.DeepCopy()
		obj.Status.Revision = "ours"
		res, err := patch.Status(t.Context(), s, base, obj, patch.Options{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res.Written).To(BeFalse())
		g.Expect(s.patches).To(Equal(1))
	})
	t.Run("OwnedCondition", func(t *testing.T) {
		g := NewWithT(t)
		s, base := newServer(t)
		s.before = foreign(`{"status":{"conditions":[{"type":"Ready","status":"False","reason":"Theirs","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"},{"type":"Other","status":"True","reason":"Theirs","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`)
		obj := base.DeepCopy()
		conditions.MarkTrue(obj, "Ready", "Ours", "m")
		_, err := patch.Status(t.Context(), s, base, obj, patch.Options{OwnedConditions: []string{"Ready"}})
		g.Expect(err).NotTo(HaveOccurred())
		got := s.read(t)
		g.Expect(conditions.Reason(got, "Ready")).To(Equal("Ours"))
		g.Expect(conditions.Reason(got, "Other")).To(Equal("Theirs"))
	})
	t.Run("ForeignCondition", func(t *testing.T) {
		g := NewWithT(t)
		s, base := newServer(t)
		s.before = foreign(`{"status":{"conditions":[{"type":"Ready","status":"False","reason":"Theirs","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`)
		obj := base.DeepCopy()
		conditions.MarkTrue(obj, "Ready", "Ours", "m")
		_, err := patch.Status(t.Context(), s, base, obj, patch.Options{})
		g.Expect(errors.As(err, new(*conditions.ConflictError))).To(BeTrue())
		g.Expect(conditions.Reason(s.read(t), "Ready")).To(Equal("Theirs"))
	})
	t.Run("Superseded", func(t *testing.T) {
		g := NewWithT(t)
		s, base := newServer(t)
		s.before = func(n int, c client.Client) error {
			o := &app{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a"}}
			return c.Patch(context.Background(), o, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"generation":2},"spec":{"text":"x"}}`)))
		}
		obj := base.DeepCopy()
		obj.Status.Revision = "ours"
		_, err := patch.Status(t.Context(), s, base, obj, patch.Options{})
		g.Expect(errors.Is(err, patch.ErrSuperseded)).To(BeTrue())
		g.Expect(s.patches).To(Equal(1))
		g.Expect(s.read(t).Status.Revision).To(Equal("old"))
	})
}

// RT-21: a write whose reply was lost is not done twice.
func TestLostReply(t *testing.T) {
	g := NewWithT(t)
	s, base := newServer(t)
	s.after = func(n int) error { return io.ErrUnexpectedEOF }
	obj := base.DeepCopy()
	obj.Status.Revision = "new"
	conditions.MarkTrue(obj, "Ready", "R", "m")
	_, err := patch.Status(t.Context(), s, base, obj, patch.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.patches).To(Equal(1))
	g.Expect(obj.ResourceVersion).To(Equal(s.read(t).ResourceVersion))
}

// RT-23, WIRE-23
func TestTooLarge(t *testing.T) {
	g := NewWithT(t)
	s, base := newServer(t)
	s.before = func(n int, _ client.Client) error {
		if n == 1 {
			return apierrors.NewRequestEntityTooLargeError("limit is 3145728")
		}
		return nil
	}
	obj := base.DeepCopy()
	conditions.MarkFalse(obj, "Ready", "R", "%s", strings.Repeat("ü", 5000))
	_, err := patch.Status(t.Context(), s, base, obj, patch.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	got := conditions.Message(s.read(t), "Ready")
	g.Expect(len(got)).To(BeNumerically("<=", 1024))
	g.Expect(got).To(HaveSuffix("ü..."))
	g.Expect(s.patches).To(Equal(2))

	s.patches = 0
	s.before = func(int, client.Client) error { return apierrors.NewRequestEntityTooLargeError("x") }
	obj.Status.Revision = "x"
	_, err = patch.Status(t.Context(), s, base, obj, patch.Options{})
	g.Expect(apierrors.IsRequestEntityTooLargeError(err)).To(BeTrue())
	g.Expect(s.patches).To(Equal(2), "once more, then never")
}

// RT-21: other errors are returned at once and change nothing.
func TestOtherErrors(t *testing.T) {
	g := NewWithT(t)
	s, base := newServer(t)
	s.before = func(int, client.Client) error {
		return apierrors.NewForbidden(testapi.GroupVersion.WithResource("apps").GroupResource(), "a", errors.New("no"))
	}
	obj := base.DeepCopy()
	obj.Status.Revision = "new"
	before := base.DeepCopy()
	_, err := patch.Status(t.Context(), s, base, obj, patch.Options{})
	g.Expect(apierrors.IsForbidden(err)).To(BeTrue())
	g.Expect(s.patches).To(Equal(1))
	g.Expect(base).To(Equal(before), "RT-24: on failure base is unchanged")
	ctx, cancel := context.WithCancel(t.Context())
	s.before = func(int, client.Client) error {
		cancel()
		return apierrors.NewConflict(testapi.GroupVersion.WithResource("apps").GroupResource(), "a", errors.New("c"))
	}
	start := time.Now()
	_, err = patch.Status(ctx, s, base, obj, patch.Options{})
	g.Expect(errors.Is(err, context.Canceled)).To(BeTrue())
	g.Expect(time.Since(start)).To(BeNumerically("<", 10*time.Second))
}

// RT-25, WIRE-33: fields that the installed CRD does not have.
func TestPruned(t *testing.T) {
	g := NewWithT(t)
	s, base := newServer(t)
	pruning := interceptor.NewClient(s.WithWatch, interceptor.Funcs{
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			if err := c.SubResource(sub).Patch(ctx, o, p, opts...); err != nil {
				return err
			}
			o.(*app).Status.Artifact = nil
			return nil
		},
	})
	obj := base.DeepCopy()
	obj.Status.Artifact = &meta.Artifact{Path: "p", LastUpdateTime: metav1.Now()}
	obj.Status.Revision = "r"
	var fields []string
	_, err := patch.Status(t.Context(), pruning, base, obj, patch.Options{Pruned: func(f []string) { fields = f }})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(fields).To(Equal([]string{"artifact"}))
}

// RT-22: metadata is a request of its own.
func TestMetadata(t *testing.T) {
	g := NewWithT(t)
	s, base := newServer(t)
	v := "1"
	stale := base.DeepCopy()
	res, err := patch.Metadata(t.Context(), s, base, patch.Change{AddFinalizer: "x/y", Annotations: map[string]*string{"a": &v}}, patch.Options{FieldManager: "me"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res).To(Equal(patch.Result{Written: true, Requests: 1}))
	g.Expect(base.Finalizers).To(Equal([]string{"x/y"}))
	g.Expect(base.Annotations).To(HaveKeyWithValue("a", "1"))
	res, err = patch.Metadata(t.Context(), s, base, patch.Change{AddFinalizer: "x/y", RemoveFinalizer: "z", Annotations: map[string]*string{"a": &v, "b": nil}}, patch.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Requests).To(BeZero())
	_, err = patch.Metadata(t.Context(), s, stale, patch.Change{AddFinalizer: "z"}, patch.Options{})
	g.Expect(apierrors.IsConflict(err)).To(BeTrue())
	g.Expect(s.read(t).Finalizers).To(Equal([]string{"x/y"}))
	_, err = patch.Metadata(t.Context(), s, base, patch.Change{RemoveFinalizer: "x/y", Annotations: map[string]*string{"a": nil}}, patch.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(base.Finalizers).To(BeEmpty())
	g.Expect(base.Annotations).NotTo(HaveKey("a"))
}

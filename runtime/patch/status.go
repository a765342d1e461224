// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package patch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gitops-kit/sdk/runtime/conditions"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	tries      = 5
	firstDelay = 50 * time.Millisecond
	// shortMessage is what messages are cut to when the status is too large.
	shortMessage = 1024
)

// Options of [Status] and [Metadata]. The zero value reads conflicts through
// the writing client and owns no condition.
type Options struct {
	// Reader reads the live object after a conflict; it must not be a cache. nil:
	// the client itself, which must then not read from a cache.
	Reader client.Reader
	// FieldManager is recorded with the write; "" leaves it to the client.
	FieldManager string
	// OwnedConditions are the types we win a conflict about.
	OwnedConditions []string
	// ForceOwned makes every condition we changed an owned one.
	ForceOwned bool
	// Observe, when set, is called after each request with its verb ("patch",
	// "get") and error.
	Observe func(verb string, err error)
	// Pruned, when set, is called with the top-level status fields that were
	// sent but are missing in the reply, because the installed CRD lacks them.
	Pruned func(fields []string)
}

// Result tells what a write did.
type Result struct {
	// Written is true when the server stored a new version.
	Written bool
	// Requests is the number of requests sent.
	Requests int
}

// Status writes the difference of the status of obj to that of base, in one
// JSON merge patch of the status subresource with base's resource version as
// precondition; no difference, no request. base is the object as it was read,
// obj a copy that was changed. On success obj has the new resource version and
// base becomes a copy of obj, so that the two can be used for the next write.
// On failure neither is changed, except that conditions which a conflict
// merged are in obj.
//
// A conflict, or a reply that was lost, re-reads the object: a newer
// generation is [ErrSuperseded]; otherwise conditions are merged and our other
// changes are applied where nobody else changed the same field.
func Status(ctx context.Context, c client.Client, base, obj client.Object, o Options) (Result, error) {
	w, err := newWriter(c, base, obj, o)
	if err != nil || len(w.changes) == 0 {
		return Result{}, err
	}
	err = w.run(ctx)
	return w.result, err
}

// Changed reports whether [Status] would send a request.
func Changed(base, obj client.Object) (bool, error) {
	b, err := statusOf(base)
	if err != nil {
		return false, err
	}
	w, err := statusOf(obj)
	if err != nil {
		return false, err
	}
	return len(diff(b, w, nil)) > 0, nil
}

type writer struct {
	client  client.Client
	reader  client.Reader
	base    client.Object
	obj     client.Object
	o       Options
	changes []change
	baseSt  map[string]any
	version string
	cut     bool
	result  Result
}

func newWriter(c client.Client, base, obj client.Object, o Options) (*writer, error) {
	w := &writer{client: c, reader: o.Reader, base: base, obj: obj, o: o, version: base.GetResourceVersion()}
	if w.reader == nil {
		w.reader = c
	}
	var err error
	if w.baseSt, err = statusOf(base); err != nil {
		return nil, err
	}
	want, err := statusOf(obj)
	if err != nil {
		return nil, err
	}
	w.changes = diff(w.baseSt, want, nil)
	return w, nil
}

func (w *writer) run(ctx context.Context) error {
	delay := firstDelay
	var last error
	for try := range tries {
		if try > 0 {
			if err := sleep(ctx, delay); err != nil {
				return errors.Join(err, last)
			}
			delay *= 2
			done, err := w.refresh(ctx)
			if err != nil || done {
				return err
			}
		}
		err := w.send(ctx)
		switch {
		case err == nil:
			return nil
		case apierrors.IsConflict(err) || ambiguous(err):
			last = err
		case tooLarge(err) && !w.cut:
			w.cut = true
			w.shorten()
			if err = w.send(ctx); err == nil {
				return nil
			}
			if !apierrors.IsConflict(err) && !ambiguous(err) {
				return fmt.Errorf("write status: %w", err)
			}
			last = err
		default:
			return fmt.Errorf("write status: %w", err)
		}
	}
	return fmt.Errorf("write status: %w: %w", ErrConflict, last)
}

func (w *writer) send(ctx context.Context) error {
	doc := map[string]any{
		"metadata": map[string]any{"resourceVersion": w.version},
		"status":   document(w.changes),
	}
	data, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	reply, ok := w.obj.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("copy of %T is no object", w.obj)
	}
	var opts []client.SubResourcePatchOption
	if w.o.FieldManager != "" {
		opts = append(opts, client.FieldOwner(w.o.FieldManager))
	}
	err = w.client.Status().Patch(ctx, reply, client.RawPatch(types.MergePatchType, data), opts...)
	w.count("patch", err)
	if err != nil {
		return err
	}
	w.result.Written = true
	w.prune(reply)
	w.accept(reply.GetResourceVersion())
	return nil
}

// accept makes obj and base the state of version.
func (w *writer) accept(version string) {
	w.obj.SetResourceVersion(version)
	copyInto(w.base, w.obj)
}

// refresh reads the live object and moves our changes on top of it. It reports
// done when the live object has them already, after a reply that was lost.
func (w *writer) refresh(ctx context.Context) (done bool, err error) {
	live, ok := reflect.New(reflect.TypeOf(w.obj).Elem()).Interface().(client.Object)
	if !ok {
		return false, fmt.Errorf("%T is no object", w.obj)
	}
	live.GetObjectKind().SetGroupVersionKind(w.obj.GetObjectKind().GroupVersionKind())
	err = w.reader.Get(ctx, client.ObjectKeyFromObject(w.obj), live)
	w.count("get", err)
	if err != nil {
		return false, fmt.Errorf("read after conflict: %w", err)
	}
	if live.GetGeneration() != w.base.GetGeneration() || live.GetUID() != w.base.GetUID() {
		return false, ErrSuperseded
	}
	if err := w.merge(live); err != nil {
		return false, err
	}
	if len(w.changes) == 0 {
		w.accept(live.GetResourceVersion())
		return true, nil
	}
	return false, nil
}

func (w *writer) merge(live client.Object) error {
	liveSt, err := statusOf(live)
	if err != nil {
		return err
	}
	var foreign []string
	for _, c := range w.changes {
		if isConditions(c.path) {
			continue
		}
		now := lookup(liveSt, c.path)
		if !equal(now, c.from) && !equal(now, c.to) {
			foreign = append(foreign, c.String())
		}
	}
	if len(foreign) > 0 {
		return &StatusConflictError{Fields: foreign}
	}
	merged, err := w.conditions(live)
	if err != nil {
		return err
	}
	want := runtime.DeepCopyJSON(liveSt)
	for _, c := range w.changes {
		if !isConditions(c.path) {
			set(want, c.path, runtime.DeepCopyJSONValue(c.to))
		}
	}
	if merged != nil {
		if err := setConditions(want, merged); err != nil {
			return err
		}
		if s, ok := w.obj.(conditions.Setter); ok {
			s.SetConditions(merged)
		}
	}
	w.changes, w.baseSt, w.version = diff(liveSt, want, nil), liveSt, live.GetResourceVersion()
	if w.cut {
		w.shorten()
	}
	return nil
}

// conditions merges the three lists; nil when the kind has none.
func (w *writer) conditions(live client.Object) ([]metav1.Condition, error) {
	base, ok1 := w.base.(conditions.Getter)
	ours, ok2 := w.obj.(conditions.Getter)
	theirs, ok3 := live.(conditions.Getter)
	if !ok1 || !ok2 || !ok3 {
		return nil, nil
	}
	owned := w.o.OwnedConditions
	if w.o.ForceOwned {
		for _, c := range slices.Concat(base.GetConditions(), ours.GetConditions()) {
			owned = append(slices.Clip(owned), c.Type)
		}
	}
	return conditions.Merge(base.GetConditions(), ours.GetConditions(), theirs.GetConditions(), owned)
}

// shorten cuts the messages of the conditions that are about to be written.
func (w *writer) shorten() {
	for i, c := range w.changes {
		list, ok := c.to.([]any)
		if !ok || !isConditions(c.path) {
			continue
		}
		for _, e := range list {
			m, ok := e.(map[string]any)
			if !ok {
				continue
			}
			if s, ok := m["message"].(string); ok && len(s) > shortMessage {
				m["message"] = strings.ToValidUTF8(s[:shortMessage-3], "") + "..."
			}
		}
		w.changes[i].to = list
	}
	if s, ok := w.obj.(conditions.Setter); ok {
		list := slices.Clone(s.GetConditions())
		for i := range list {
			if m := list[i].Message; len(m) > shortMessage {
				list[i].Message = strings.ToValidUTF8(m[:shortMessage-3], "") + "..."
			}
		}
		s.SetConditions(list)
	}
}

// prune reports fields that the reply does not have.
func (w *writer) prune(reply client.Object) {
	if w.o.Pruned == nil {
		return
	}
	got, err := statusOf(reply)
	if err != nil {
		return
	}
	var missing []string
	for _, c := range w.changes {
		if c.to == nil || isEmpty(c.to) {
			continue
		}
		if _, ok := got[c.path[0]]; !ok && !slices.Contains(missing, c.path[0]) {
			missing = append(missing, c.path[0])
		}
	}
	if len(missing) > 0 {
		w.o.Pruned(missing)
	}
}

func (w *writer) count(verb string, err error) {
	w.result.Requests++
	if w.o.Observe != nil {
		w.o.Observe(verb, err)
	}
}

func isConditions(path []string) bool { return len(path) == 1 && path[0] == "conditions" }

func isEmpty(v any) bool {
	rv := reflect.ValueOf(v)
	switch rv.Kind() {
	case reflect.Map, reflect.Slice:
		return rv.Len() == 0
	default:
		return rv.IsZero()
	}
}

// ambiguous reports an error after which the write may have happened.
func ambiguous(err error) bool {
	var netErr net.Error
	return apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsInternalError(err) ||
		apierrors.IsTooManyRequests(err) || apierrors.IsServiceUnavailable(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.As(err, &netErr) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// tooLarge reports a refusal because of size: the API server's 413, a 422 or
// 500 that names the size, or etcd's limit.
func tooLarge(err error) bool {
	if apierrors.IsRequestEntityTooLargeError(err) {
		return true
	}
	var s apierrors.APIStatus
	if !errors.As(err, &s) {
		return false
	}
	st := s.Status()
	if st.Details != nil {
		for _, c := range st.Details.Causes {
			if c.Type == metav1.CauseTypeFieldValueInvalid && strings.Contains(c.Field, "conditions") {
				return true
			}
			if c.Type == metav1.CauseType("FieldValueTooLong") {
				return true
			}
		}
	}
	return false
}

func sleep(ctx context.Context, d time.Duration) error {
	d = time.Duration(float64(d) * (0.8 + 0.4*rand.Float64())) //nolint:gosec // jitter, not a secret
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

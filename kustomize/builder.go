// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/gitops-kit/sdk/kustomize/internal/limits"
)

// Builder builds trees. Make it with [New]; it is safe for concurrent use.
type Builder struct {
	turns    chan struct{}
	parallel int
	wait     time.Duration
	runner   SchemaRunner

	builds, indexed, lanes, abandoned atomic.Int64
}

// BuilderStats are numbers over all builds of a [Builder].
type BuilderStats struct {
	Builds    int64 // started
	Indexed   int64 // built by the indexed engine
	Lanes     int64 // ran with a schema of their own
	Abandoned int64 // outlived their deadline
	// Parses counts how often this process parsed the built-in schema: once,
	// and once after each build with a schema of its own.
	Parses int64
}

// New returns a builder. The built-in schema is parsed once per process, at the
// first build.
func New(o BuilderOptions) *Builder {
	b := &Builder{parallel: o.Parallel, wait: o.SchemaWait, runner: o.SchemaRunner}
	if b.parallel <= 0 {
		b.parallel = runtime.GOMAXPROCS(0)
	}
	if b.wait <= 0 {
		b.wait = 10 * time.Second
	}
	b.turns = make(chan struct{}, b.parallel)
	return b
}

// Stats returns the numbers so far.
func (b *Builder) Stats() BuilderStats {
	return BuilderStats{
		Builds: b.builds.Load(), Indexed: b.indexed.Load(), Lanes: b.lanes.Load(),
		Abandoned: b.abandoned.Load(), Parses: process.parses.Load(),
	}
}

// outcome is what the goroutine of a build hands over.
type outcome struct {
	res *Result
	err error
}

// Build turns a directory into objects. The result is returned next to an
// error, too, with its Inputs and Warnings so far. A build that outlives its
// deadline returns at once; what still runs of it cannot be seen by others.
func (b *Builder) Build(ctx context.Context, o Options) (*Result, error) {
	if err := checkOptions(&o); err != nil {
		return &Result{}, err
	}
	lim := o.Limits.effective(false)
	ctx, cancel := context.WithTimeoutCause(ctx, lim.Time, &LimitError{Name: "build-time", Max: int64(lim.Time), Got: int64(lim.Time) + 1, Wait: true})
	defer cancel()
	select {
	case b.turns <- struct{}{}:
	case <-ctx.Done():
		return &Result{}, deadline(ctx)
	}
	b.builds.Add(1)
	l := newLoader(newStore(ctx, o.Root, lim), &o, b.parallel)
	done := make(chan outcome, 1)
	go func() {
		res := &Result{}
		err := b.build(ctx, l, res)
		done <- outcome{res, err}
	}()
	select {
	case got := <-done:
		<-b.turns
		l.collect(got.res)
		if got.err != nil && ctx.Err() != nil && !errors.Is(got.err, ErrSchemaBusy) {
			got.err = deadline(ctx)
		}
		return got.res, got.err
	case <-ctx.Done():
		<-b.turns
		b.abandoned.Add(1)
		res := &Result{}
		l.collect(res)
		return res, deadline(ctx)
	}
}

// deadline is the error of a build whose context ended: the limit if it was
// ours, else the context's.
func deadline(ctx context.Context) error {
	err := context.Cause(ctx)
	if le, ok := errors.AsType[*LimitError](err); ok {
		return &timeoutError{le}
	}
	return fmt.Errorf("build: %w", ctx.Err())
}

// timeoutError is the build-time limit, which is a deadline, too.
type timeoutError struct{ *LimitError }

func (e *timeoutError) Unwrap() []error { return []error{e.LimitError, context.DeadlineExceeded} }

func checkOptions(o *Options) error {
	switch {
	case o.Root == nil:
		return fmt.Errorf("%w: Root is required", ErrOptions)
	case o.Engine < Auto || o.Engine > Indexed:
		return fmt.Errorf("%w: unknown engine %d", ErrOptions, o.Engine)
	case o.Schema != SchemaAdd && o.Schema != SchemaReplace:
		return fmt.Errorf("%w: unknown schema mode %d", ErrOptions, o.Schema)
	}
	if o.Dir == "" {
		o.Dir = "."
	}
	return checkSubstitution(o.Substitute, o.Limits.effective(false))
}

// collect copies what the loader saw.
func (l *loader) collect(res *Result) {
	res.Inputs = l.snapshot()
	l.mu.Lock()
	defer l.mu.Unlock()
	res.Warnings = append([]Warning(nil), l.warnings...)
	res.Stats.Files, res.Stats.Bytes, res.Stats.Docs = len(l.blobs), l.bytes, int(l.docs)
	res.Digest = buildDigest(res.Inputs, l.opts)
}

// build is one build from reading to substitution.
func (b *Builder) build(ctx context.Context, l *loader, res *Result) (err error) {
	defer recovered(&err)
	start := time.Now()
	mark := func(d *time.Duration) {
		*d = time.Since(start)
		start = time.Now()
	}
	if err := l.load(); err != nil {
		return err
	}
	mark(&res.Stats.Load)
	if l.root.empty() {
		res.Stats.Empty = true
		res.index()
		return nil
	}
	if len(l.schemas) > 0 {
		if err := l.laneLimits(); err != nil {
			return err
		}
	}
	made, err := b.run(ctx, l, res)
	if err != nil {
		return err
	}
	mark(&res.Stats.Run)
	if err := b.finish(ctx, l, res, made); err != nil {
		return err
	}
	mark(&res.Stats.Finish)
	return nil
}

// laneLimits applies the lower bounds of a build that runs alone.
func (l *loader) laneLimits() error {
	l.lim = l.opts.Limits.effective(true)
	name := l.schemas[0].name
	if err := limits.Check("build-total", l.lim.Total, l.bytes); err != nil {
		return &BuildError{File: name, Err: err}
	}
	n := l.count(l.root, map[*kust]counted{})
	if err := limits.Check("objects", l.lim.Objects, n.objects); err != nil {
		return &BuildError{File: name, Err: err}
	}
	return nil
}

// run picks the engine.
func (b *Builder) run(ctx context.Context, l *loader, res *Result) ([]built, error) {
	if len(l.schemas) > 0 {
		b.lanes.Add(1)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.lim.Time)
		defer cancel()
	}
	res.Stats.Engine = Krusty
	objects, err := b.engine(ctx, l, res)
	if err != nil {
		if _, busy := errors.AsType[*busyError](err); busy {
			return nil, err
		}
		return nil, l.engineFailure(err)
	}
	if res.Stats.Engine == Indexed {
		b.indexed.Add(1)
	}
	if err := limits.Check("objects", l.lim.Objects, int64(len(objects))); err != nil {
		return nil, err
	}
	l.origins(objects)
	return objects, nil
}

// finish runs hooks and substitution and fills the result.
func (b *Builder) finish(ctx context.Context, l *loader, res *Result, objects []built) error {
	made := make([]Object, len(objects))
	for i, o := range objects {
		made[i] = Object{Unstructured: o.u, Origin: *o.origin}
	}
	for _, o := range made {
		l.remoteOrigin(o.Unstructured)
	}
	if err := b.objectHooks(ctx, l, made); err != nil {
		return err
	}
	if err := l.substitute(res, made, objects); err != nil {
		return err
	}
	for i := range made {
		setMetadata(made[i].Unstructured, l.opts.Spec.CommonMetadata)
	}
	if err := checkIdentities(made); err != nil {
		return err
	}
	res.Objects = made
	res.index()
	return nil
}

// objectHooks runs Hooks.Object on every object, in parallel.
func (b *Builder) objectHooks(ctx context.Context, l *loader, made []Object) error {
	hook := l.opts.Hooks.Object
	if hook == nil {
		return nil
	}
	return each(ctx, b.parallel, len(made), func(i int) (err error) {
		defer recovered(&err)
		now, changed, err := hook(ctx, made[i])
		if err != nil {
			o := made[i].Origin
			return &BuildError{File: o.File, Doc: o.Doc, Line: o.Line, Field: idOf(made[i].Unstructured).String(), Err: external{err}}
		}
		if changed && now.Unstructured != nil {
			made[i].Unstructured = now.Unstructured
		}
		return nil
	})
}

func setMetadata(u *unstructured.Unstructured, m CommonMetadata) {
	if len(m.Labels) > 0 {
		u.SetLabels(merged(u.GetLabels(), m.Labels))
	}
	if len(m.Annotations) > 0 {
		u.SetAnnotations(merged(u.GetAnnotations(), m.Annotations))
	}
}

func merged(have, add map[string]string) map[string]string {
	out := make(map[string]string, len(have)+len(add))
	maps.Copy(out, have)
	maps.Copy(out, add)
	return out
}

// checkIdentities makes sure that every object has an identity of its own.
func checkIdentities(made []Object) error {
	seen := make(map[objectID]Origin, len(made))
	for _, o := range made {
		at := o.Origin
		fail := func(err error) error {
			return &BuildError{File: at.File, Doc: at.Doc, Line: at.Line, Err: err}
		}
		id := idOf(o.Unstructured)
		switch {
		case o.GetAPIVersion() == "":
			return fail(invalidf("missing apiVersion in object"))
		case id.kind == "":
			return fail(invalidf("missing kind in object"))
		case id.name == "":
			return fail(invalidf("missing metadata.name in object of kind %s", id.kind))
		}
		if other, dup := seen[id]; dup {
			return fail(fmt.Errorf("%w: %s, first at %s", ErrDuplicateObject, id, other))
		}
		seen[id] = at
	}
	return nil
}

// each calls f for 0 to n-1 from at most parallel goroutines and returns the
// error of the lowest index.
func each(ctx context.Context, parallel, n int, f func(i int) error) error {
	errs := make([]error, n)
	var next atomic.Int64
	done := make(chan struct{})
	workers := min(parallel, n)
	for range workers {
		go func() {
			defer func() { done <- struct{}{} }()
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if errs[i] = ctx.Err(); errs[i] == nil {
					errs[i] = f(i)
				}
			}
		}()
	}
	for range workers {
		<-done
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

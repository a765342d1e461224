// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"

	"github.com/gitops-kit/sdk/kustomize/internal/limits"
	"github.com/gitops-kit/sdk/kustomize/internal/redact"
)

// recovered turns a panic into a [*PanicError].
func recovered(err *error) {
	if v := recover(); v != nil {
		*err = &PanicError{Value: v, Stack: debug.Stack()}
	}
}

// runKrusty runs kustomize over what the loader prepared. The caller holds the
// gate.
func (l *loader) runKrusty(v *vfs) (objects []built, err error) {
	defer recovered(&err)
	o := krusty.MakeDefaultOptions()
	o.LoadRestrictions = types.LoadRestrictionsNone
	o.PluginConfig = types.DisabledPluginConfig()
	m, err := krusty.MakeKustomizer(o).Run(v, l.root.tree.virtual(l.root.dir))
	if err != nil {
		return nil, err
	}
	if err := limits.Check("objects", l.lim.Objects, int64(m.Size())); err != nil {
		return nil, err
	}
	objects, err = toObjects(m)
	if err == nil && l.root.sort != nil {
		sortBuilt(objects, l.root.sort)
	}
	return objects, err
}

// sortBuilt orders what kustomize made. kustomize would do it, too, and write a
// line to the log of the process.
func sortBuilt(objects []built, o *types.SortOptions) {
	list := make([]*resource, len(objects))
	byResource := make(map[*resource]built, len(objects))
	for i, b := range objects {
		gvk := b.u.GroupVersionKind()
		list[i] = &resource{group: gvk.Group, version: gvk.Version, kind: gvk.Kind, name: b.u.GetName(), namespace: b.u.GetNamespace()}
		byResource[list[i]] = b
	}
	sorted, err := sortSet(list, o)
	if err != nil {
		return // checked when the file was read
	}
	for i, r := range sorted {
		objects[i] = byResource[r]
	}
}

// built is an object as an engine made it.
type built struct {
	u      *unstructured.Unstructured
	node   *yaml.Node // how it is written; nil if unknown
	origin *Origin    // nil if the engine does not know
}

func toObjects(m resmap.ResMap) ([]built, error) {
	out := make([]built, 0, m.Size())
	for _, r := range m.Resources() {
		object, err := objectOf(r.YNode())
		if err != nil {
			return nil, err
		}
		out = append(out, built{u: &unstructured.Unstructured{Object: object}, node: r.YNode()})
	}
	return out, nil
}

// engineFailure gives an error of the engine a place and takes secrets and
// machine paths out of its text.
func (l *loader) engineFailure(err error) error {
	if ctx := l.ctx.Err(); ctx != nil {
		return ctx
	}
	var pe *PanicError
	var le *LimitError
	var ext external
	switch {
	case errors.As(err, &ext):
		return &BuildError{File: l.root.name, Err: ext}
	case errors.As(err, &pe), errors.As(err, &le):
		return err
	case errors.Is(err, errBail):
		return &BuildError{File: l.root.name, Err: fmt.Errorf("%w: %w", ErrOptions, errBail)}
	}
	text := l.scrub(err.Error())
	be := &BuildError{Err: &engineError{text: text, cause: cause(err, text)}}
	l.locateText(be, text)
	return be
}

// engineError is an engine's error with a clean text.
type engineError struct {
	text  string
	cause error
}

func (e *engineError) Error() string { return e.text }
func (e *engineError) Unwrap() error { return e.cause }

// cause finds the case of an engine's error. kustomize has no type for two
// objects of one id, so this is the one place that reads its text.
func cause(err error, text string) error {
	switch {
	case errors.Is(err, ErrPathEscape):
		return ErrPathEscape
	case strings.Contains(text, "already registered id"), strings.Contains(text, "multiple matches for Id"):
		return ErrDuplicateObject
	}
	return ErrInvalid
}

// scrub removes virtual mounts, and every value of a Secret or a decrypted file
// that the engine may have quoted.
func (l *loader) scrub(text string) string {
	text = strings.NewReplacer("'./", "'", "'"+rootMount+"/", "'", rootMount+"/", "", "'"+rootMount+"'", "'.'").Replace(text)
	for _, secret := range l.secrets() {
		text = strings.ReplaceAll(text, secret, redact.Mask)
	}
	return redact.Text(text, 4*kib)
}

// locateText names the file of the first known file or object in an engine's
// text.
func (l *loader) locateText(be *BuildError, text string) {
	best := -1
	for _, src := range l.order {
		if i := strings.LastIndex(text, src.name()); i > best && src.rel != "." {
			best, be.File, be.Line = i, src.name(), 0
			if len(src.docs) == 1 {
				be.Doc, be.Line = 1, src.docs[0].line()
			}
		}
	}
	for _, src := range l.order {
		for _, d := range src.docs {
			for _, h := range d.heads {
				if h.name != "" && strings.Contains(text, h.kind+".") && strings.Contains(text, "/"+h.name+".") {
					be.File, be.Doc, be.Line = src.name(), d.index, h.line
					return
				}
			}
		}
	}
	if be.File == "" {
		be.File = l.root.name
	}
}

// engine runs the tree in the right lane and with the right engine.
func (b *Builder) engine(ctx context.Context, l *loader, res *Result) ([]built, error) {
	var objects []built
	v := &vfs{l: l}
	direct := l.opts.Engine != Krusty && len(l.schemas) == 0 && l.direct()
	if l.opts.Engine == Indexed && !direct {
		return nil, errBail
	}
	run := func() (err error) {
		if direct {
			objects, err = l.runIndexed()
			if err == nil {
				res.Stats.Engine = Indexed
			}
			if err == nil || l.opts.Engine == Indexed || l.ctx.Err() != nil {
				return err
			}
		}
		objects, err = l.runKrusty(v)
		return err
	}
	foreign := func() {
		l.warn(WarningSchemaForeign, "", 0, "the schema of the process was changed by somebody else and is restored")
	}
	var err error
	if len(l.schemas) == 0 {
		err = share(ctx, b.wait, foreign, run)
	}
	if v.met || len(l.schemas) > 0 {
		return b.laneEngine(ctx, l, res)
	}
	return objects, err
}

// laneEngine runs a tree that brings a schema.
func (b *Builder) laneEngine(ctx context.Context, l *loader, res *Result) ([]built, error) {
	res.Stats.Lane = true
	if b.runner != nil {
		return b.outside(ctx, l)
	}
	var objects []built
	v := &vfs{l: l, lane: true}
	err := alone(ctx, b.wait, l.opts.Schema == SchemaReplace, func() (err error) {
		objects, err = l.runKrusty(v)
		return err
	})
	return objects, err
}

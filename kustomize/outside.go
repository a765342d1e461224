// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"bytes"
	"context"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/gitops-kit/sdk/kustomize/internal/limits"
)

// outside hands a tree that brings a schema to the SchemaRunner.
func (b *Builder) outside(ctx context.Context, l *loader) ([]built, error) {
	t := SchemaTree{Files: map[string][]byte{}, Schema: l.opts.Schema, Limits: l.lim}
	strip := func(p string) string { return strings.TrimPrefix(p, "/") }
	for dir, k := range l.kusts {
		if k.served != nil {
			t.Files[strip(dir)+"/"+k.base()] = bytes.Clone(k.served)
		}
	}
	for name, src := range l.sources {
		if src.raw != nil {
			t.Files[strip(name)] = bytes.Clone(src.data)
		}
	}
	t.Dir = strip(l.root.tree.virtual(l.root.dir))
	out, err := b.runner.Run(ctx, t)
	if err != nil {
		return nil, external{err}
	}
	if err := limits.Check("build-total", l.lim.Total, int64(len(out))); err != nil {
		return nil, err
	}
	docs, err := l.decode("", out)
	if err != nil {
		return nil, err
	}
	if err := limits.Check("objects", l.lim.Objects, int64(len(docs))); err != nil {
		return nil, err
	}
	objects := make([]built, 0, len(docs))
	for part := range bytes.SplitSeq(append([]byte("\n"), out...), []byte("\n---\n")) {
		if len(bytes.TrimSpace(part)) == 0 {
			continue
		}
		raw, err := sigsyaml.YAMLToJSON(part)
		if err != nil {
			return nil, invalidf("decode the schema runner's output")
		}
		u := &unstructured.Unstructured{}
		if err := utiljson.Unmarshal(raw, &u.Object); err != nil {
			return nil, invalidf("decode the schema runner's output")
		}
		objects = append(objects, built{u: u})
	}
	if l.root.sort != nil {
		sortBuilt(objects, l.root.sort)
	}
	return objects, nil
}

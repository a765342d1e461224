// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/types"

	"github.com/gitops-kit/sdk/kustomize/internal/limits"
)

// generate makes a kustomization for a directory that has none: every manifest
// below, and every directory below that has a kustomization of its own.
func (l *loader) generate(t *tree, dir string) (*kustFile, error) {
	entries := []any{}
	add := func(rel string) { entries = append(entries, relative(dir, rel)) }
	if err := l.scan(t, dir, 0, add); err != nil {
		return nil, err
	}
	return &kustFile{name: t.name(dir), rel: dir, fields: map[string]any{
		"apiVersion": types.KustomizationVersion, "kind": types.KustomizationKind, "resources": entries,
	}}, nil
}

func (l *loader) scan(t *tree, dir string, depth int64, add func(rel string)) error {
	if err := limits.Check("base-depth", l.lim.BaseDepth, depth); err != nil {
		return &BuildError{File: t.name(dir), Err: err}
	}
	list, err := l.list(t, dir)
	if err != nil {
		return &BuildError{File: t.name(dir), Err: err}
	}
	for _, e := range list {
		rel := path.Join(dir, e.Name())
		if l.ignored != nil && l.ignored(rel, e.IsDir()) {
			continue
		}
		if e.IsDir() {
			file, err := l.findKust(t, rel)
			switch {
			case err != nil:
				return err
			case file != "":
				add(rel)
			default:
				if err := l.scan(t, rel, depth+1, add); err != nil {
					return err
				}
			}
			continue
		}
		if !isYAMLFile(e.Name()) {
			continue
		}
		if e.Type()&fs.ModeSymlink != 0 {
			if st := l.stat(t, rel); st.err == nil && st.mode.IsDir() {
				continue // as a walk does not enter linked directories
			}
		}
		if err := l.scanned(t, rel); err != nil {
			return err
		}
		add(rel)
	}
	return nil
}

// scanned checks that a file of a generated kustomization holds objects.
func (l *loader) scanned(t *tree, rel string) error {
	src := l.source(target{tree: t, rel: rel}, FileResource, "")
	src.yaml = true
	raw, err := l.read(t, rel)
	if err != nil {
		return &BuildError{File: t.name(rel), Err: err}
	}
	src.raw, src.data = raw, raw
	docs, err := l.decode(src.name(), raw)
	if err == nil {
		src.docs = docs
		err = checkObjects(src)
	}
	if be, ok := errors.AsType[*BuildError](err); ok {
		return &BuildError{File: be.File, Doc: be.Doc, Line: be.Line, Err: fmt.Errorf("failed to decode Kubernetes YAML from %s: %w", t.name(rel), be.Err)}
	}
	return err
}

// mergeSpec merges the overrides into the root kustomization.
func (l *loader) mergeSpec(k *kustFile) error {
	s := l.opts.Spec
	for field, value := range map[string]string{
		"namespace": s.TargetNamespace, "namePrefix": s.NamePrefix, "nameSuffix": s.NameSuffix,
	} {
		if value != "" {
			k.fields[field] = value
		}
	}
	appendTo := func(field string, values ...any) {
		if len(values) > 0 {
			k.fields[field] = append(k.list(field), values...)
		}
	}
	for _, p := range s.Patches {
		m := map[string]any{"patch": p.Patch}
		if p.Target != nil {
			m["target"] = selectorFields(*p.Target)
		}
		appendTo("patches", m)
	}
	for _, p := range s.PatchesStrategicMerge {
		appendTo("patchesStrategicMerge", p)
	}
	for _, p := range s.PatchesJSON6902 {
		appendTo("patchesJson6902", map[string]any{"patch": p.Patch, "target": selectorFields(p.Target)})
	}
	for _, c := range s.Components {
		if !localComponent(c) {
			return &BuildError{Field: "components", Err: fmt.Errorf("%w: component path '%s' must be local and relative", ErrForbidden, c)}
		}
		if rel, escape := join(path.Clean(l.opts.Dir), c); s.IgnoreMissingComponents && !escape {
			if st := l.stat(l.trees[0], rel); errors.Is(st.err, ErrNoSuchFile) {
				continue
			}
		}
		appendTo("components", c)
	}
	if len(s.Images) > 0 {
		k.fields["images"] = mergeImages(append(k.list("images"), k.list("imageTags")...), s.Images)
		delete(k.fields, "imageTags")
	}
	if len(s.BuildMetadata) > 0 {
		list := make([]any, len(s.BuildMetadata))
		for i, m := range s.BuildMetadata {
			list[i] = m
		}
		k.fields["buildMetadata"] = list
	}
	return nil
}

func selectorFields(s Selector) map[string]any {
	m := map[string]any{}
	for k, v := range map[string]string{
		"group": s.Group, "version": s.Version, "kind": s.Kind, "name": s.Name, "namespace": s.Namespace,
		"labelSelector": s.LabelSelector, "annotationSelector": s.AnnotationSelector,
	} {
		if v != "" {
			m[k] = v
		}
	}
	return m
}

// localComponent reports whether a component of a Spec is a relative path.
func localComponent(c string) bool {
	if c == "" || path.IsAbs(c) {
		return false
	}
	for _, p := range []string{"git::", "gh:", "ssh://", "https://", "http://", "git@", "github.com:", "github.com/", "file:///"} {
		if hasFold(c, p) {
			return false
		}
	}
	return true
}

// mergeImages merges by name: newName replaces if it is set, newTag and digest
// are one unit.
func mergeImages(have []any, add []Image) []any {
	out := slices.Clip(have)
	for _, img := range add {
		var m map[string]any
		for i, v := range out {
			if old, ok := v.(map[string]any); ok && old["name"] == img.Name {
				m = maps.Clone(old)
				out[i] = m
			}
		}
		if m == nil {
			m = map[string]any{"name": img.Name}
			out = append(out, m)
		}
		if img.NewName != "" {
			m["newName"] = img.NewName
		}
		if img.NewTag != "" || img.Digest != "" {
			delete(m, "newTag")
			delete(m, "digest")
		}
		if img.NewTag != "" {
			m["newTag"] = img.NewTag
		}
		if img.Digest != "" {
			m["digest"] = img.Digest
		}
	}
	return out
}

// isIgnored reports whether an entry is filtered out.
func (l *loader) isIgnored(t target) bool {
	return l.ignored != nil && t.tree == l.trees[0] && l.ignored(t.rel, t.dir)
}

// prepareIgnore sets up the filter of Options.Ignore.
func (l *loader) prepareIgnore() error {
	if !l.opts.Ignore.Files && strings.TrimSpace(l.opts.Ignore.Patterns) == "" {
		return nil
	}
	return l.loadIgnore()
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/gitops-kit/sdk/kustomize/internal/limits"
)

// target is what an entry refers to.
type target struct {
	tree *tree
	rel  string
	dir  bool
}

// resolve finds what an entry of k means: something local, or a remote tree.
// What exists locally is never remote.
func (l *loader) resolve(k *kust, entry string) (target, error) {
	if entry == "" {
		return target{}, fmt.Errorf("%w: empty entry", ErrNoSuchFile)
	}
	if path.IsAbs(entry) {
		return target{}, fmt.Errorf("%w: %q is absolute", ErrPathEscape, entry)
	}
	rel, escape := join(k.dir, entry)
	if !escape {
		st := l.stat(k.tree, rel)
		switch {
		case st.err == nil && st.mode.IsDir():
			if ambiguous(entry) {
				return target{}, invalidf("path %q is ambiguous", entry)
			}
			return target{k.tree, st.real, true}, nil
		case st.err == nil:
			return target{k.tree, rel, false}, nil
		case !errors.Is(st.err, ErrNoSuchFile):
			return target{}, fmt.Errorf("%w: %q", st.err, entry)
		}
	}
	if isFileURL(entry) {
		return target{}, fmt.Errorf("%w: local transport in %q", ErrForbidden, entry)
	}
	r, ok := parseRemote(entry)
	switch {
	case ok:
		return l.resolveRemote(k, entry, r)
	case escape:
		return target{}, fmt.Errorf("%w: %q", ErrPathEscape, entry)
	}
	return target{}, fmt.Errorf("%w: %q", ErrNoSuchFile, rel)
}

func (l *loader) resolveRemote(k *kust, entry string, r Remote) (target, error) {
	t, rel, err := l.mount(k.tree, entry, r)
	if err != nil {
		return target{}, fmt.Errorf("remote entry %q: %w", r.label(), err)
	}
	st := l.stat(t, rel)
	switch {
	case st.err != nil:
		return target{}, fmt.Errorf("remote entry %q: %w", r.label(), st.err)
	case st.mode.IsDir():
		return target{t, st.real, true}, nil
	}
	return target{t, rel, false}, nil
}

// ambiguous reports a segment with ".." inside, which comes from a broken
// indentation of two list items.
func ambiguous(entry string) bool {
	for part := range strings.SplitSeq(entry, "/") {
		if part != ".." && strings.Contains(part, "..") {
			return true
		}
	}
	return false
}

// rewritten is the entry as the engine gets it.
func rewritten(k *kust, t target) string {
	if t.tree == k.tree {
		return relative(k.dir, t.rel)
	}
	return relative(strings.TrimPrefix(k.tree.virtual(k.dir), "/"), strings.TrimPrefix(t.tree.virtual(t.rel), "/"))
}

// entries rewrites every path-bearing field.
func (l *loader) entries(k *kust, chain []*kust) error {
	k.own = len(k.list("resources"))
	if bases := k.list("bases"); bases != nil {
		k.fields["resources"] = append(k.list("resources"), bases...)
		delete(k.fields, "bases")
	}
	if err := l.resources(k, chain); err != nil {
		return err
	}
	if err := l.components(k, chain); err != nil {
		return err
	}
	for _, f := range []string{"generators", "transformers", "validators"} {
		if err := l.plugins(k, f, chain); err != nil {
			return err
		}
	}
	for _, f := range []string{"crds", "configurations"} {
		for i, v := range k.list(f) {
			if err := l.pathField(k, k.list(f), i, v, "", f, i); err != nil {
				return err
			}
		}
	}
	if err := l.patchFields(k); err != nil {
		return err
	}
	return l.generatorFields(k)
}

func (l *loader) resources(k *kust, chain []*kust) error {
	var kept []any
	list := k.list("resources")
	for i, v := range list {
		entry, ok := v.(string)
		if !ok {
			kept = append(kept, v) // the engine's decoder refuses it
			continue
		}
		field, at := "resources", i
		if i >= k.own {
			field, at = "bases", i-k.own
		}
		t, err := l.resolve(k, entry)
		if err != nil {
			return k.fail(err, field, at)
		}
		if l.isIgnored(t) {
			continue
		}
		kept = append(kept, rewritten(k, t))
		if !t.dir {
			src := l.source(t, FileResource, "")
			src.yaml = true
			k.items = append(k.items, item{file: src})
			continue
		}
		base, err := l.kustomization(t.tree, t.rel, k.plugin, chain)
		if err != nil {
			return wrapEntry(k, err, field, at)
		}
		base.asBase = true
		k.items = append(k.items, item{base: base})
	}
	if list != nil {
		if kept == nil {
			kept = []any{}
		}
		k.fields["resources"] = kept
	}
	return nil
}

func (l *loader) components(k *kust, chain []*kust) error {
	list := k.list("components")
	l.comps += int64(len(list))
	if err := limits.Check("build-components", l.lim.Components, l.comps); err != nil {
		return k.fail(err, "components")
	}
	var kept []any
	for i, v := range list {
		entry, ok := v.(string)
		if !ok {
			kept = append(kept, v)
			continue
		}
		t, err := l.resolve(k, entry)
		if err != nil {
			return k.fail(err, "components", i)
		}
		if l.isIgnored(t) {
			continue
		}
		if !t.dir {
			return k.fail(invalidf("component %q is not a directory", entry), "components", i)
		}
		part, err := l.kustomization(t.tree, t.rel, k.plugin, chain)
		if err != nil {
			return wrapEntry(k, err, "components", i)
		}
		part.asPart = true
		k.parts = append(k.parts, part)
		kept = append(kept, rewritten(k, t))
	}
	if list != nil {
		if kept == nil {
			kept = []any{}
		}
		k.fields["components"] = kept
	}
	return nil
}

// wrapEntry adds the place of the entry unless the error has a place already.
func wrapEntry(k *kust, err error, path ...any) error {
	if _, ok := errors.AsType[*BuildError](err); ok {
		return err
	}
	return k.fail(err, path...)
}

// source returns the file of a target; its first use decides what hooks see.
func (l *loader) source(t target, kind FileKind, key string) *source {
	id := t.tree.virtual(t.rel)
	if src := l.sources[id]; src != nil {
		return src
	}
	src := &source{tree: t.tree, rel: t.rel, kind: kind, key: key}
	l.sources[id] = src
	l.order = append(l.order, src)
	return src
}

// fileEntry resolves an entry that must be a file and reads it.
func (l *loader) fileEntry(k *kust, entry string, kind FileKind, key string) (*source, string, error) {
	t, err := l.resolve(k, entry)
	if err != nil {
		return nil, "", err
	}
	if t.dir {
		return nil, "", invalidf("%q is a directory", entry)
	}
	src := l.source(t, kind, key)
	if src.raw == nil && src.err == nil {
		src.raw, src.err = l.read(t.tree, t.rel)
		src.data = src.raw
	}
	if src.err != nil {
		return nil, "", fmt.Errorf("%w: %q", src.err, entry)
	}
	return src, rewritten(k, t), nil
}

// pathField rewrites one path inside list or map holder.
func (l *loader) pathField(k *kust, holder any, at any, v any, kind FileKind, path ...any) error {
	entry, ok := v.(string)
	if !ok {
		return nil // the engine's decoder refuses it
	}
	if kind == "" && path[0] == "crds" {
		if t, err := l.resolve(k, entry); err == nil && l.isIgnored(t) {
			return k.fail(fmt.Errorf("%w: %q is ignored", ErrNoSuchFile, entry), path...)
		}
	}
	_, now, err := l.fileEntry(k, entry, kind, "")
	if err != nil {
		return k.fail(err, path...)
	}
	switch h := holder.(type) {
	case []any:
		h[at.(int)] = now
	case map[string]any:
		h[at.(string)] = now
	}
	return nil
}

// patchFields handles the three kinds of patches and replacements.
func (l *loader) patchFields(k *kust) error {
	l.patches += int64(len(k.list("patches")) + len(k.list("patchesStrategicMerge")) + len(k.list("patchesJson6902")))
	if err := limits.Check("build-patches", l.lim.Patches, l.patches); err != nil {
		return k.fail(err, "patches")
	}
	for _, f := range []string{"patches", "patchesJson6902"} {
		for i, v := range k.list(f) {
			m, ok := v.(map[string]any)
			if !ok {
				continue
			}
			if p, ok := m["path"].(string); ok && p != "" {
				if err := l.pathField(k, m, "path", p, FilePatch, f, i, "path"); err != nil {
					return err
				}
			}
			if p, ok := m["patch"].(string); ok {
				if err := l.inline(p); err != nil {
					return k.fail(err, f, i, "patch")
				}
			}
		}
	}
	list := k.list("patchesStrategicMerge")
	for i, v := range list {
		text, ok := v.(string)
		if !ok {
			continue
		}
		if l.isInline(text) {
			if err := l.inline(text); err != nil {
				return k.fail(err, "patchesStrategicMerge", i)
			}
			list[i] = "\n" + text
			continue
		}
		if err := l.pathField(k, list, i, text, FilePatch, "patchesStrategicMerge", i); err != nil {
			return err
		}
	}
	for i, v := range k.list("replacements") {
		if m, ok := v.(map[string]any); ok && m["path"] != nil {
			if err := l.pathField(k, m, "path", m["path"], "", "replacements", i, "path"); err != nil {
				return err
			}
		}
	}
	return nil
}

// isInline reports whether an entry is a YAML document, as the engine decides:
// it is when it parses to objects.
func (l *loader) isInline(text string) bool {
	if !strings.ContainsAny(text, ":\n{") {
		return false
	}
	probe := &store{lim: l.lim}
	docs, err := probe.decode("", []byte(text))
	if err != nil {
		// Broken or oversized text is inline, too, if it cannot be a path: its
		// error is better than "no such file".
		return strings.Contains(text, "\n")
	}
	for _, d := range docs {
		if d.str("kind") == "" {
			return false
		}
	}
	return len(docs) > 0
}

// inline checks a patch or plugin document that stands in a kustomization.
func (l *loader) inline(text string) error {
	docs, err := l.decode("", []byte(text))
	if err != nil {
		return err
	}
	return l.checkPatch(docs)
}

// generatorFields handles the files of configMapGenerator and secretGenerator.
func (l *loader) generatorFields(k *kust) error {
	for field, kinds := range map[string][2]FileKind{
		"configMapGenerator": {FileConfigFile, FileConfigEnv},
		"secretGenerator":    {FileSecretFile, FileSecretEnv},
	} {
		for i, v := range k.list(field) {
			if m, ok := v.(map[string]any); ok {
				if err := l.generatorEntry(k, m, kinds, field, i); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (l *loader) generatorEntry(k *kust, m map[string]any, kinds [2]FileKind, at ...any) error {
	files, _ := m["files"].([]any)
	for i, v := range files {
		text, ok := v.(string)
		if !ok {
			continue
		}
		key, file, found := strings.Cut(text, "=")
		if !found {
			key, file = path.Base(text), text
		}
		if strings.Contains(file, "=") || file == "" || found && key == "" {
			continue // the engine names what is wrong
		}
		_, now, err := l.fileEntry(k, file, kinds[0], key)
		if err != nil {
			return k.fail(err, append(at, "files", i)...)
		}
		files[i] = now
		if found {
			files[i] = key + "=" + now
		}
	}
	envs, _ := m["envs"].([]any)
	for i, v := range envs {
		if err := l.pathField(k, envs, i, v, kinds[1], append(at, "envs", i)...); err != nil {
			return err
		}
	}
	if v, ok := m["env"].(string); ok && v != "" {
		return l.pathField(k, m, "env", v, kinds[1], append(at, "env")...)
	}
	return nil
}

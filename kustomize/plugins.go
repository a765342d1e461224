// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/gitops-kit/sdk/kustomize/internal/limits"
)

// maxCopies bounds the copy operations of one JSON patch, each of which can
// double an object.
const maxCopies = 8

// plugins handles an entry list of generators, transformers or validators: the
// documents behind it configure built-in plugins and nothing else.
func (l *loader) plugins(k *kust, field string, chain []*kust) error {
	list := k.list(field)
	for i, v := range list {
		entry, ok := v.(string)
		if !ok {
			continue
		}
		if l.isInline(entry) {
			docs, err := l.decode("", []byte(entry))
			if err != nil {
				return k.fail(err, field, i)
			}
			changed, err := l.pluginDocs(k, docs)
			if err != nil {
				return k.fail(err, field, i)
			}
			list[i] = "\n" + entry
			if changed {
				if list[i], err = encodeDocs(docs); err != nil {
					return k.fail(err, field, i)
				}
			}
			continue
		}
		t, err := l.resolve(k, entry)
		if err != nil {
			return k.fail(err, field, i)
		}
		list[i] = rewritten(k, t)
		if t.dir {
			base, err := l.kustomization(t.tree, t.rel, true, chain)
			if err != nil {
				return wrapEntry(k, err, field, i)
			}
			k.parts = append(k.parts, base)
			if err := l.pluginTree(k, base); err != nil {
				return wrapEntry(k, err, field, i)
			}
			continue
		}
		if err := l.pluginFile(k, l.source(t, "", "")); err != nil {
			return wrapEntry(k, err, field, i)
		}
	}
	return nil
}

// pluginTree checks the documents below a directory of plugin configurations.
// Their paths are relative to k, which lists the directory.
func (l *loader) pluginTree(k, base *kust) error {
	for _, it := range base.items {
		if it.base != nil {
			if err := l.pluginTree(k, it.base); err != nil {
				return err
			}
			continue
		}
		if err := l.pluginFile(k, it.file); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) pluginFile(k *kust, src *source) error {
	if src.raw == nil {
		data, err := l.read(src.tree, src.rel)
		if err != nil {
			return &BuildError{File: src.name(), Err: err}
		}
		src.raw, src.data = data, data
	}
	src.kind = "" // not a resource: hooks do not see it
	docs, err := l.decode(src.name(), src.data)
	if err != nil {
		return err
	}
	changed, err := l.pluginDocs(k, docs)
	if err != nil {
		return &BuildError{File: src.name(), Line: firstLine(docs), Err: err}
	}
	if changed {
		text, err := encodeDocs(docs)
		if err != nil {
			return &BuildError{File: src.name(), Err: err}
		}
		src.data = []byte(text)
	}
	return nil
}

func firstLine(docs []document) int {
	if len(docs) == 0 {
		return 0
	}
	return docs[0].line()
}

// pluginDocs checks plugin configurations and rewrites their remote paths.
func (l *loader) pluginDocs(k *kust, docs []document) (changed bool, err error) {
	for _, d := range docs {
		items := []*yaml.Node{d.node}
		if strings.HasSuffix(d.str("kind"), "List") {
			if list := child(d.node, "items"); list != nil {
				items = list.Content
			}
		}
		for _, n := range items {
			ch, err := l.pluginDoc(k, n)
			if err != nil {
				return false, err
			}
			changed = changed || ch
		}
	}
	return changed, nil
}

func (l *loader) pluginDoc(k *kust, n *yaml.Node) (bool, error) {
	kind := nodeString(n, "kind")
	if v := nodeString(n, "apiVersion"); v != "builtin" {
		return false, fmt.Errorf("%w: plugin %q of apiVersion %q, only builtin ones run", ErrForbidden, kind, v)
	}
	if kind == "HelmChartInflationGenerator" {
		return false, fmt.Errorf("%w: plugin %q", ErrForbidden, kind)
	}
	for _, key := range []string{"config.kubernetes.io/function", "config.k8s.io/function"} {
		if child(child(child(n, "metadata"), "annotations"), key) != nil {
			return false, fmt.Errorf("%w: annotation %q", ErrForbidden, key)
		}
	}
	for _, key := range []string{"patch", "patches", "jsonOp"} {
		if text := nodeString(n, key); text != "" {
			if err := l.inline(text); err != nil {
				return false, err
			}
		}
	}
	return l.pluginPaths(k, n, kind)
}

func (l *loader) pluginPaths(k *kust, n *yaml.Node, kind string) (changed bool, err error) {
	files, envs := FileConfigFile, FileConfigEnv
	if kind == "SecretGenerator" {
		files, envs = FileSecretFile, FileSecretEnv
	}
	var nodes []*yaml.Node
	var kinds []FileKind
	add := func(kind FileKind, found ...*yaml.Node) {
		for _, f := range found {
			if f == nil {
				continue
			}
			if f.Kind == yaml.SequenceNode {
				for _, c := range f.Content {
					nodes, kinds = append(nodes, c), append(kinds, kind)
				}
				continue
			}
			nodes, kinds = append(nodes, f), append(kinds, kind)
		}
	}
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i].Value, n.Content[i+1]
		for value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		switch strings.ToLower(key) {
		case "path", "paths":
			add(FilePatch, value)
		case "targetfilepath":
			add("", value)
		case "files":
			add(files, value)
		case "envs", "env":
			add(envs, value)
		case "replacements":
			for _, r := range value.Content {
				add("", childFold(r, "path"))
			}
		}
	}
	for i, v := range nodes {
		ch, err := l.pluginPath(k, v, kinds[i])
		if err != nil {
			return false, err
		}
		changed = changed || ch
	}
	return changed, nil
}

func (l *loader) pluginPath(k *kust, n *yaml.Node, kind FileKind) (bool, error) {
	if n.Kind != yaml.ScalarNode || n.Value == "" {
		return false, nil
	}
	key, file := "", n.Value
	if kind == FileConfigFile || kind == FileSecretFile {
		if a, b, ok := strings.Cut(n.Value, "="); ok {
			key, file = a+"=", b
		}
	}
	if kind == FilePatch && l.isInline(file) {
		return false, l.inline(file)
	}
	if isHTTP(file) { // the engine would fetch it even if a directory has that name
		r, _ := parseRemote(file)
		t, err := l.resolveRemote(k, file, r)
		if err != nil {
			return false, err
		}
		src := l.source(t, kind, strings.TrimSuffix(key, "="))
		if src.raw, err = l.read(t.tree, t.rel); err != nil {
			return false, err
		}
		src.data = src.raw
		n.Value = key + t.tree.virtual(t.rel)
		return true, nil
	}
	_, _, err := l.fileEntry(k, file, kind, strings.TrimSuffix(key, "="))
	return false, err
}

func childFold(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if strings.EqualFold(n.Content[i].Value, key) {
			return n.Content[i+1]
		}
	}
	return nil
}

func encodeDocs(docs []document) (string, error) {
	var b strings.Builder
	for i, d := range docs {
		if i > 0 {
			b.WriteString("---\n")
		}
		enc := yaml.NewEncoder(&b)
		if err := enc.Encode(d.node); err != nil {
			return "", invalidf("encode plugin configuration")
		}
		if err := enc.Close(); err != nil {
			return "", invalidf("encode plugin configuration")
		}
	}
	return b.String(), nil
}

// checkPatch bounds the operations of JSON patches among docs.
func (l *loader) checkPatch(docs []document) error {
	for _, d := range docs {
		if d.node.Kind != yaml.SequenceNode {
			continue
		}
		copies := int64(0)
		for _, op := range d.node.Content {
			if nodeString(op, "op") == "copy" {
				copies++
			}
			for _, key := range []string{"path", "from"} {
				if err := l.checkPointer(nodeString(op, key)); err != nil {
					return err
				}
			}
		}
		if err := limits.Check("json-patch-copies", maxCopies, copies); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) checkPointer(p string) error {
	if err := limits.Check("json-patch-path", l.lim.PatchPath, int64(len(p))); err != nil {
		return err
	}
	for part := range strings.SplitSeq(p, "/") {
		if n, err := strconv.ParseInt(part, 10, 64); err == nil {
			if err := limits.Check("json-patch-index", l.lim.PatchIndex, max(n, -n)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"bytes"
	"fmt"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"github.com/gitops-kit/sdk/kustomize/internal/limits"
)

// readSources reads, decrypts and parses the files that were found, the latter
// two in parallel. The first error in file order wins.
func (l *loader) readSources() error {
	for _, src := range l.order {
		if src.raw != nil {
			continue
		}
		raw, err := l.read(src.tree, src.rel)
		if err != nil {
			return &BuildError{File: src.name(), Err: err}
		}
		src.raw, src.data = raw, raw
	}
	errs := make([]error, len(l.order))
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(l.parallel, len(l.order)) {
		wg.Go(func() {
			for i := range next {
				errs[i] = l.prepare(l.order[i])
			}
		})
	}
	for i := range l.order {
		next <- i
	}
	close(next)
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	n := l.count(l.root, map[*kust]counted{})
	if err := limits.Check("objects", l.lim.Objects, n.objects); err != nil {
		return &BuildError{File: l.root.name, Err: err}
	}
	if err := limits.Check("build-files", max(l.lim.Files, maxVisits), n.visits); err != nil {
		return &BuildError{File: l.root.name, Err: err}
	}
	return nil
}

// prepare runs the hook and parses one file.
func (l *loader) prepare(src *source) (err error) {
	defer recovered(&err)
	if err := l.ctx.Err(); err != nil {
		return err
	}
	if err := l.decrypt(src); err != nil {
		return err
	}
	if !src.yaml && src.kind != FilePatch {
		return nil
	}
	if src.docs == nil {
		if src.docs, err = l.decode(src.name(), src.data); err != nil {
			return err
		}
	}
	if src.kind == FilePatch {
		if err := l.checkPatch(src.docs); err != nil {
			return &BuildError{File: src.name(), Line: firstLine(src.docs), Err: err}
		}
	}
	if !src.yaml || src.kind == "" {
		return nil
	}
	return checkObjects(src)
}

func (l *loader) decrypt(src *source) error {
	if l.opts.Hooks.File == nil || src.kind == "" {
		return nil
	}
	if src.kind == FileResource && !bytes.Contains(src.raw, []byte("sops")) {
		return nil
	}
	out, err := l.opts.Hooks.File(l.ctx, HookFile{Path: src.name(), Kind: src.kind, Key: src.key, Data: bytes.Clone(src.raw)})
	if err != nil {
		return &BuildError{File: src.name(), Err: external{err}}
	}
	if err := limits.Check("build-file", l.lim.File, int64(len(out))); err != nil {
		return &BuildError{File: src.name(), Err: err}
	}
	if !bytes.Equal(out, src.raw) {
		src.docs = nil
	}
	src.data = out
	return nil
}

// checkObjects makes sure that every document is an object with apiVersion,
// kind and name. The errors never hold content, as the engine's would.
func checkObjects(src *source) error {
	for i, d := range src.docs {
		src.docs[i].heads = headsOf(d)
		if err := checkObject(d.node); err != nil {
			return &BuildError{File: src.name(), Doc: d.index, Line: d.line(), Err: err}
		}
		if list := listItems(d.node); list != nil {
			for _, n := range list.Content {
				for n.Kind == yaml.AliasNode {
					n = n.Alias
				}
				if err := checkObject(n); err != nil {
					return &BuildError{File: src.name(), Doc: d.index, Line: d.base + n.Line, Err: err}
				}
			}
		}
	}
	return nil
}

func checkObject(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return invalidf("document is not an object")
	}
	kind := nodeString(n, "kind")
	switch {
	case nodeString(n, "apiVersion") == "":
		return invalidf("missing apiVersion in object")
	case kind == "":
		return invalidf("missing kind in object")
	case strings.HasSuffix(kind, "List"):
		return nil
	case nodeString(n, "metadata", "name") == "":
		if nodeString(n, "metadata", "generateName") != "" {
			return fmt.Errorf("%w: %s has generateName; only objects with a name can be built", ErrInvalid, kind)
		}
		return invalidf("missing metadata.name in object of kind %s", kind)
	}
	return nil
}

// listItems returns the items of an object of a List kind.
func listItems(n *yaml.Node) *yaml.Node {
	if !strings.HasSuffix(nodeString(n, "kind"), "List") {
		return nil
	}
	if list := child(n, "items"); list != nil && list.Kind == yaml.SequenceNode {
		return list
	}
	return nil
}

// maxVisits bounds how often an engine visits kustomizations: the same base may
// be reached on many ways.
const maxVisits = 100_000

type counted struct{ objects, visits int64 }

// count says how many objects an engine would make and how many kustomizations
// it would visit, before it starts.
func (l *loader) count(k *kust, memo map[*kust]counted) counted {
	if got, ok := memo[k]; ok {
		return got
	}
	const ceiling = 1 << 40
	total := counted{visits: 1}
	if k.parsed != nil {
		total.objects += int64(len(k.parsed.ConfigMapGenerator) + len(k.parsed.SecretGenerator))
	}
	add := func(c counted) {
		total.objects = min(total.objects+c.objects, ceiling)
		total.visits = min(total.visits+c.visits, ceiling)
	}
	for _, it := range k.items {
		if it.base != nil {
			add(l.count(it.base, memo))
			continue
		}
		for _, d := range it.file.docs {
			if list := listItems(d.node); list != nil {
				add(counted{objects: int64(len(list.Content))})
				continue
			}
			add(counted{objects: 1})
		}
	}
	for _, p := range k.parts {
		add(l.count(p, memo))
	}
	memo[k] = total
	return total
}

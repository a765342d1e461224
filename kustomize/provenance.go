// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kres "sigs.k8s.io/kustomize/api/resource"
	sigsyaml "sigs.k8s.io/yaml"
)

// expected is an object that the tree should bring, in build order.
type expected struct {
	group, kind, name string
	origin            Origin
	used              bool
}

// origins finds for every built object where it came from. An object comes from
// the next unused document of its group and kind whose name is contained in the
// object's; what has none gets no line.
func (l *loader) origins(objects []built) {
	if !slices.ContainsFunc(objects, func(b built) bool { return b.origin == nil }) {
		return
	}
	list := l.expect(l.root, nil)
	type key struct{ group, kind string }
	byKind := map[key][]*expected{}
	exact := map[expectedID][]*expected{}
	for i := range list {
		e := &list[i]
		k, id := key{e.group, e.kind}, expectedID{e.group, e.kind, e.name}
		byKind[k], exact[id] = append(byKind[k], e), append(exact[id], e)
	}
	for i := range objects {
		gvk, name := objects[i].u.GroupVersionKind(), objects[i].u.GetName()
		k := key{gvk.Group, gvk.Kind}
		e := pick(exact[expectedID{gvk.Group, gvk.Kind, name}], name)
		if e == nil {
			e = pick(byKind[k], name)
		}
		objects[i].origin = &Origin{}
		if e != nil {
			e.used = true
			*objects[i].origin = e.origin
		}
		for len(byKind[k]) > 0 && byKind[k][0].used {
			byKind[k] = byKind[k][1:]
		}
	}
}

type expectedID struct{ group, kind, name string }

// maxCandidates bounds how far pick looks.
const maxCandidates = 64

// pick prefers the candidate with the longest name; of equal ones the first.
func pick(candidates []*expected, name string) *expected {
	var best *expected
	seen := 0
	for _, e := range candidates {
		if e.used {
			continue
		}
		if seen++; seen > maxCandidates {
			break
		}
		if strings.Contains(name, e.name) && (best == nil || len(e.name) > len(best.name)) {
			best = e
		}
	}
	return best
}

// expect lists what a kustomization brings: resources, generators, components.
func (l *loader) expect(k *kust, out []expected) []expected {
	for _, it := range k.items {
		if it.base != nil {
			out = l.expect(it.base, out)
			continue
		}
		out = expectFile(it.file, out)
	}
	if k.parsed != nil {
		for i, g := range k.parsed.ConfigMapGenerator {
			out = append(out, expected{kind: "ConfigMap", name: g.Name, origin: generatorOrigin(k, "configMapGenerator", i)})
		}
		for i, g := range k.parsed.SecretGenerator {
			out = append(out, expected{kind: "Secret", name: g.Name, origin: generatorOrigin(k, "secretGenerator", i)})
		}
	}
	for _, p := range k.parts {
		if !p.plugin {
			out = l.expect(p, out)
		}
	}
	return out
}

func generatorOrigin(k *kust, field string, i int) Origin {
	return Origin{File: k.rel, Line: k.line(field, i), Generator: field, Remote: k.tree.label}
}

func expectFile(src *source, out []expected) []expected {
	for _, d := range src.docs {
		for _, h := range d.heads {
			gv, _ := schema.ParseGroupVersion(h.apiVersion)
			out = append(out, expected{
				group: gv.Group, kind: h.kind, name: h.name,
				origin: Origin{File: src.rel, Doc: d.index, Line: h.line, Remote: src.tree.label},
			})
		}
	}
	return out
}

// originKey is the annotation of buildMetadata's originAnnotations.
const originKey = "config.kubernetes.io/origin"

// remoteOrigin makes an origin annotation that points into a remote tree name
// the repository, as kustomize does for what it fetches itself.
func (l *loader) remoteOrigin(u *unstructured.Unstructured) {
	notes := u.GetAnnotations()
	text, ok := notes[originKey]
	if !ok || len(l.trees) == 1 {
		return
	}
	var o kres.Origin
	if sigsyaml.Unmarshal([]byte(text), &o) != nil {
		return
	}
	for _, p := range []*string{&o.Path, &o.ConfiguredIn} {
		t, rel, err := l.locate(path.Join(l.root.tree.virtual(l.root.dir), *p))
		if *p == "" || err != nil || t == l.trees[0] {
			continue
		}
		*p, o.Repo, o.Ref = rel, t.label, t.ref
		o.Repo, _, _ = strings.Cut(t.label, "?ref=")
	}
	if out, err := o.String(); err == nil {
		notes[originKey] = out
		u.SetAnnotations(notes)
	}
}

// secrets lists the values that an engine must not quote: of Secrets, of files
// for Secrets, and of what a hook changed. Used on the error path only.
func (l *loader) secrets() []string {
	var out []string
	add := func(s string) {
		if s = strings.TrimSpace(s); len(s) >= 4 {
			out = append(out, s)
		}
	}
	for _, src := range l.order {
		if src.kind == FileSecretFile || src.kind == FileSecretEnv {
			for line := range strings.Lines(string(src.data)) {
				add(line)
				if _, v, ok := strings.Cut(line, "="); ok {
					add(v)
				}
			}
		}
		plain := string(src.data) != string(src.raw)
		for _, d := range src.docs {
			if plain {
				scalars(d.node, add)
			} else if len(d.heads) == 1 && d.heads[0].kind == "Secret" {
				for _, f := range []string{"data", "stringData"} {
					if n := child(d.node, f); n != nil {
						scalars(n, add)
					}
				}
			}
		}
	}
	for _, k := range l.kusts {
		if k.parsed == nil {
			continue
		}
		for _, g := range k.parsed.SecretGenerator {
			for _, lit := range g.LiteralSources {
				if _, v, ok := strings.Cut(lit, "="); ok {
					add(v)
				}
			}
		}
	}
	return out
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"io/fs"
	"path"

	"sigs.k8s.io/kustomize/api/ifc"
	"sigs.k8s.io/kustomize/api/kv"
	"sigs.k8s.io/kustomize/api/provider"
	"sigs.k8s.io/kustomize/api/resmap"
	kres "sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/resid"
)

func gvkOf(r *resource) resid.Gvk {
	return resid.Gvk{Group: r.group, Version: r.version, Kind: r.kind}
}

// kustLoader lets kustomize's generators read files of one kustomization.
type kustLoader struct {
	x *indexed
	k *kust
}

var _ ifc.Loader = kustLoader{}

// Load returns a file that the loader prepared.
func (l kustLoader) Load(name string) ([]byte, error) {
	v := name
	if !path.IsAbs(name) {
		v = path.Join(l.k.tree.virtual(l.k.dir), name)
	}
	if src := l.x.l.sources[v]; src != nil && src.raw != nil {
		return src.data, nil
	}
	return nil, fs.ErrNotExist
}

// Root is the virtual directory of the kustomization.
func (l kustLoader) Root() string { return l.k.tree.virtual(l.k.dir) }

// Repo is empty.
func (l kustLoader) Repo() string { return "" }

// New is refused.
func (l kustLoader) New(string) (ifc.Loader, error) { return nil, fs.ErrInvalid }

// Cleanup does nothing.
func (l kustLoader) Cleanup() error { return nil }

// generate adds what configMapGenerator and secretGenerator make.
func (x *indexed) generate(k *kust, s *set) error {
	p := k.parsed
	if len(p.ConfigMapGenerator)+len(p.SecretGenerator) == 0 {
		return nil
	}
	deps := provider.NewDefaultDepProvider()
	factory := resmap.NewFactory(deps.GetResourceFactory())
	files := kv.NewLoader(kustLoader{x, k}, deps.GetFieldValidator())
	ids := indexIDs(s)
	for i, args := range p.ConfigMapGenerator {
		args.Options = types.MergeGlobalOptionsIntoLocal(args.Options, p.GeneratorOptions)
		m, err := factory.FromConfigMapArgs(files, args)
		if err != nil {
			return errBail
		}
		if err := x.absorb(s, ids, m, generatorOrigin(k, "configMapGenerator", i)); err != nil {
			return err
		}
	}
	for i, args := range p.SecretGenerator {
		args.Options = types.MergeGlobalOptionsIntoLocal(args.Options, p.GeneratorOptions)
		m, err := factory.FromSecretArgs(files, args)
		if err != nil {
			return errBail
		}
		if err := x.absorb(s, ids, m, generatorOrigin(k, "secretGenerator", i)); err != nil {
			return err
		}
	}
	return nil
}

// absorb adds generated objects, or merges them into those of their identity.
func (x *indexed) absorb(s *set, ids anyID, m resmap.ResMap, origin Origin) error {
	for _, made := range m.Resources() {
		hash, behavior := made.NeedHashSuffix(), made.Behavior()
		made.RemoveBuildAnnotations()
		r, err := x.object(made.YNode())
		if err != nil {
			return err
		}
		r.hash, r.behavior, r.marked, r.origin = hash, behavior, true, origin
		matches := ids[r.id()]
		switch {
		case len(matches) == 0 && behavior != types.BehaviorMerge && behavior != types.BehaviorReplace:
			if err := s.add(r); err != nil {
				return err
			}
			ids[r.id()] = append(ids[r.id()], r)
		case len(matches) == 1 && (behavior == types.BehaviorMerge || behavior == types.BehaviorReplace):
			if err := x.overlay(matches[0], r); err != nil {
				return err
			}
		default:
			return errBail
		}
	}
	return nil
}

// overlay puts a generated object in the place of an older one.
func (x *indexed) overlay(old, now *resource) error {
	if child(old.node, "stringData") != nil {
		return errBail
	}
	was, is := &kres.Resource{RNode: *old.rnode()}, &kres.Resource{RNode: *now.rnode()}
	if err := is.CopyMergeMetaDataFieldsFrom(was); err != nil {
		return errBail
	}
	if now.behavior == types.BehaviorMerge {
		is.MergeDataMapFrom(was)
		is.MergeBinaryDataMapFrom(was)
	}
	r, err := x.object(is.YNode())
	if err != nil || r.id() != old.id() {
		return errBail
	}
	r.prev, r.prefixes, r.suffixes = old.prev, old.prefixes, old.suffixes
	r.hash, r.behavior, r.marked = old.hash && now.hash, old.behavior, old.marked
	r.origin = now.origin
	*old = *r // in place: every index keeps pointing at it
	return nil
}

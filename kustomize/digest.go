// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
)

// recipe changes when the same inputs may give other objects.
const recipe = "gitops-kit/kustomize 1; kustomize v0.21.2"

// digestOptions are the options that change what a build makes.
type digestOptions struct {
	Recipe, Dir string
	Spec        Spec
	Ignore      Ignore
	Schema      SchemaMode
	Strict      bool
	Hooks       [2]bool
	Substitute  *digestSubstitution
}

type digestSubstitution struct {
	Vars                            map[string]string // hashed
	Mode                            Mode
	Always, Lenient, FailUndeclared bool
}

// buildDigest is the cache key of a build.
func buildDigest(inputs []Input, o *Options) string {
	h := sha256.New()
	for _, in := range inputs {
		fmt.Fprintf(h, "%q %s %s\n", in.Path, in.Kind, in.SHA256)
	}
	d := digestOptions{
		Recipe: recipe, Dir: path.Clean(o.Dir), Spec: o.Spec, Ignore: o.Ignore, Schema: o.Schema, Strict: o.Strict,
		Hooks: [2]bool{o.Hooks.File != nil, o.Hooks.Object != nil},
	}
	if s := o.Substitute; s != nil {
		d.Substitute = &digestSubstitution{map[string]string{}, s.Mode, s.Always, s.Lenient, s.FailUndeclared}
		for name, v := range s.Vars {
			d.Substitute.Vars[name] = digest([]byte(v.Value))
		}
	}
	if err := json.NewEncoder(h).Encode(d); err != nil {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Unchanged reports whether a build with o would read what the build of last
// read, so that last can be used again. It reads and hashes every input once
// and builds nothing. Results with remote entries always count as changed, and
// what hooks would return is not looked at.
func (b *Builder) Unchanged(ctx context.Context, o Options, last *Result) (bool, error) {
	if err := checkOptions(&o); err != nil {
		return false, err
	}
	if last == nil || last.Digest == "" || buildDigest(last.Inputs, &o) != last.Digest {
		return false, nil
	}
	s := newStore(ctx, o.Root, o.Limits.effective(false))
	t := s.trees[0]
	for _, in := range last.Inputs {
		if strings.Contains(in.Path, "//") {
			return false, nil
		}
		same, err := s.same(t, in, o.Ignore)
		if err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

func (s *store) same(t *tree, in Input, ign Ignore) (bool, error) {
	switch in.Kind {
	case InputFile:
	case InputAbsent:
		st := s.stat(t, in.Path)
		return errors.Is(st.err, ErrNoSuchFile), s.ctx.Err()
	case InputDir:
		entries, err := s.list(t, in.Path)
		if err != nil {
			return false, s.ctx.Err()
		}
		return listDigest(entries) == in.SHA256, nil
	case InputIgnore:
		patterns, err := ignorePatterns(t.fsys, ign)
		return err == nil && ignoreDigest(patterns) == in.SHA256, s.ctx.Err()
	case InputLink:
		if t.links == nil {
			return false, nil
		}
		target, err := t.links.ReadLink(in.Path)
		return err == nil && digest([]byte(target)) == in.SHA256, s.ctx.Err()
	}
	data, err := s.read(t, in.Path)
	if err != nil {
		return false, s.ctx.Err()
	}
	return digest(data) == in.SHA256, nil
}

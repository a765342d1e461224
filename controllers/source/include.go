// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitops-kit/sdk/apis/meta"
	v1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/runtime/reconcile"
	"github.com/gitops-kit/sdk/untar"
)

const maxIncludeDepth = 16

// include is one entry of spec.include with the artifact it stands for.
type include struct {
	spec     v1.GitRepositoryInclude
	artifact meta.Artifact
}

// include finds the artifacts of the included repositories.
func (x *gitRun) include(ctx context.Context, o *v1.GitRepository) (next reconcile.Result, err error) {
	for _, spec := range o.Spec.Include {
		var dep v1.GitRepository
		name := client.ObjectKey{Namespace: o.Namespace, Name: spec.GitRepositoryRef.Name}
		err := x.Client.Get(ctx, name, &dep)
		switch {
		case apierrors.IsNotFound(err):
			return next, x.includeFailure(o, "NotFound", Waiting, fmt.Sprintf("could not get resource for include '%s': %v", name.Name, err))
		case err != nil:
			return next, err
		case dep.Status.Artifact == nil:
			return next, x.includeFailure(o, "NoArtifact", Waiting, fmt.Sprintf("no artifact available for include '%s'", name.Name))
		}
		x.includes = append(x.includes, include{spec: spec, artifact: *dep.Status.Artifact})
	}
	if cycle, err := x.includeCycle(ctx, o); err != nil {
		return next, err
	} else if cycle != "" {
		return next, x.includeFailure(o, meta.DependencyCycleReason, Stalling, "include cycle: "+cycle)
	}
	conditions.Delete(o, v1.IncludeUnavailableCondition)
	return next, nil
}

func (x *gitRun) includeFailure(o *v1.GitRepository, reason string, class Class, text string) error {
	return x.fail(o, StepInclude, &RunError{Condition: v1.IncludeUnavailableCondition, Why: reason, Class: class, Text: text})
}

// includeCycle follows the includes of o and describes the way back to it.
func (x *gitRun) includeCycle(ctx context.Context, o *v1.GitRepository) (string, error) {
	type node struct {
		name, trail string
		depth       int
	}
	seen := map[string]bool{}
	var todo []node
	for _, i := range x.includes {
		todo = append(todo, node{i.spec.GitRepositoryRef.Name, o.Name, 1})
	}
	for len(todo) > 0 {
		n := todo[0]
		todo = todo[1:]
		trail := n.trail + " → " + n.name
		if n.name == o.Name {
			return trail, nil
		}
		if seen[n.name] || n.depth >= maxIncludeDepth {
			continue
		}
		seen[n.name] = true
		var dep v1.GitRepository
		err := x.Client.Get(ctx, client.ObjectKey{Namespace: o.Namespace, Name: n.name}, &dep)
		if client.IgnoreNotFound(err) != nil {
			return "", err
		}
		for _, i := range dep.Spec.Include {
			todo = append(todo, node{i.GitRepositoryRef.Name, trail, n.depth + 1})
		}
	}
	return "", nil
}

func (x *gitRun) included() []meta.Artifact {
	var out []meta.Artifact
	for _, i := range x.includes {
		out = append(out, i.artifact)
	}
	return out
}

// compose copies the included artifacts into the tree, in order.
func (x *gitRun) compose(ctx context.Context, o *v1.GitRepository) (next reconcile.Result, err error) {
	if len(x.includes) == 0 {
		return next, nil
	}
	root, err := os.OpenRoot(x.treeDir())
	if err != nil {
		return next, x.fail(o, StepStore, err)
	}
	defer func() { _ = root.Close() }()
	for n, i := range x.includes {
		if err := x.copyInclude(ctx, root, filepath.Join(x.tree, fmt.Sprintf("include-%d", n)), i); err != nil {
			return next, x.fail(o, StepInclude, err)
		}
	}
	return next, nil
}

func (x *gitRun) copyInclude(ctx context.Context, root *os.Root, dir string, i include) error {
	blob, err := x.store.Open(ctx, &i.artifact)
	if err != nil {
		return err
	}
	defer func() { _ = blob.Close() }()
	if _, err := untar.Extract(ctx, blob, dir, untar.Options{}); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	from, err := localPath(i.spec.FromPath, ".")
	if err != nil {
		return err
	}
	to, err := localPath(i.spec.ToPath, i.spec.GitRepositoryRef.Name)
	if err != nil {
		return err
	}
	src, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	return copyTree(ctx, root, to, src.FS(), from)
}

// localPath cleans a path of the spec and refuses what leaves the root.
func localPath(p, fallback string) (string, error) {
	clean := path.Clean(strings.TrimLeft(p, "/"))
	if p == "" || clean == "." {
		clean = fallback
	}
	if !filepath.IsLocal(clean) {
		return "", &RunError{
			Condition: v1.StorageOperationFailedCondition, Why: "IllegalPath", Class: Generic,
			Text: fmt.Sprintf("path '%s' of include leaves the repository", p),
		}
	}
	return clean, nil
}

// copyTree copies the regular files below from in src to to in dst.
func copyTree(ctx context.Context, dst *os.Root, to string, src fs.FS, from string) error {
	return fs.WalkDir(src, from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		target := path.Join(to, filepath.ToSlash(rel))
		switch {
		case d.IsDir():
			return dst.MkdirAll(target, 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		return copyFile(dst, target, src, p)
	})
}

func copyFile(dst *os.Root, target string, src fs.FS, name string) error {
	in, err := src.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := dst.MkdirAll(path.Dir(target), 0o755); err != nil {
		return err
	}
	out, err := dst.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, info.Mode().Perm()|0o600)
	if err != nil {
		return err
	}
	if _, err = io.Copy(out, in); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}

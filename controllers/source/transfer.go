// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/gitops-kit/sdk/apis/meta"
	v1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/untar/tarball"
)

// errMoved says that the reference moved after it was resolved, so that what
// came is not what the artifact would be named after.
var errMoved = errors.New("reference moved")

func (x *gitRun) checkoutOptions(o *v1.GitRepository) git.CheckoutOptions {
	return git.CheckoutOptions{
		Sparse:     x.inputs.Sparse,
		Verify:     x.access.policy,
		Submodules: o.Spec.RecurseSubmodules,
		LFS:        o.Annotations[lfsAnnotation] == "true",
		Symlinks:   git.LinksSkip,
	}
}

// export writes the files of the commit into the artifact as they arrive.
// Which step failed tells a bad repository from a full disk.
func (x *gitRun) export(ctx context.Context, o *v1.GitRepository) (Step, error) {
	step, revision := StepStore, x.resolved.Revision
	key := keyOf(o, revision.Hash.String()+".tar.gz")
	var err error
	x.made, err = x.store.Write(ctx, key, revision.String(), func(w io.Writer) error {
		var pack *tarball.Writer
		var broken error // of the pack, or of the ignore files
		open := func(tree fs.FS) (git.Sink, error) {
			m, err := exclusions(o, tree, x.flags.IgnoreSemantics)
			if err != nil {
				broken = err
				return nil, err
			}
			pack = tarball.NewWriter(w, tarball.Options{Ignore: m})
			return func(path string, mode fs.FileMode, size int64, r io.Reader) error {
				in := &reader{r: r}
				err := pack.Add(path, mode, size, in)
				if err != nil && in.err == nil && !errors.Is(err, fs.SkipDir) {
					broken = err
				}
				return err
			}, nil
		}
		var err error
		x.checkout, err = x.client.Export(ctx, x.resolved, open, x.checkoutOptions(o))
		if pack != nil {
			if _, cerr := pack.Close(); err == nil {
				err, broken = cerr, cerr
			}
		}
		if err == nil && x.checkout.Revision != revision {
			return errMoved
		}
		if err != nil && broken == nil {
			step = StepFetch
		}
		return err
	}, artifact.WriteOptions{})
	return step, err
}

// checkOut writes the files of the commit into a directory.
func (x *gitRun) checkOut(ctx context.Context, o *v1.GitRepository) (Step, error) {
	var err error
	if x.tree, err = os.MkdirTemp("", "gitrepository-"); err != nil {
		return StepStorage, err
	}
	x.checkout, err = x.client.Checkout(ctx, x.resolved, x.treeDir(), x.checkoutOptions(o))
	return StepFetch, err
}

// packTree makes the artifact of a directory.
func (x *gitRun) packTree(ctx context.Context, o *v1.GitRepository) (*meta.Artifact, error) {
	root, err := os.OpenRoot(x.treeDir())
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	m, err := exclusions(o, root.FS(), x.flags.IgnoreSemantics)
	if err != nil {
		return nil, err
	}
	key := keyOf(o, x.checkout.Revision.Hash.String()+".tar.gz")
	return x.store.Pack(ctx, key, x.checkout.Revision.String(), root, artifact.PackOptions{Ignore: m})
}

// reader remembers that reading failed, as opposed to writing what was read.
type reader struct {
	r   io.Reader
	err error
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

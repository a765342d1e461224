// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"slices"
	"strings"

	"github.com/gitops-kit/sdk/apis/meta"
	v1 "github.com/gitops-kit/sdk/apis/source/v1"
)

// InputKey is what an artifact is made from besides the revision. Two equal
// keys and revisions give the same bytes.
type InputKey struct {
	Ignore     *string
	Include    []v1.GitRepositoryInclude
	Included   []meta.Artifact
	Submodules bool
	Sparse     []string
}

// Inputs returns the key of the artifact that o asks for, given the artifacts
// of the repositories it includes.
func Inputs(o *v1.GitRepository, included ...meta.Artifact) InputKey {
	return InputKey{
		Ignore:     o.Spec.Ignore,
		Include:    o.Spec.Include,
		Included:   included,
		Submodules: o.Spec.RecurseSubmodules,
		Sparse:     sparseDirs(o.Spec.SparseCheckout),
	}
}

// Observed returns the key of the artifact that o has.
func Observed(o *v1.GitRepository) InputKey {
	k := InputKey{
		Ignore:     o.Status.ObservedIgnore,
		Include:    o.Status.ObservedInclude,
		Submodules: o.Status.ObservedRecurseSubmodules,
		Sparse:     o.Status.ObservedSparseCheckout,
	}
	for _, a := range o.Status.IncludedArtifacts {
		if a != nil {
			k.Included = append(k.Included, *a)
		}
	}
	return k
}

// Record stores the key in o's status.
func (k InputKey) Record(o *v1.GitRepository) {
	o.Status.ObservedIgnore = k.Ignore
	o.Status.ObservedInclude = k.Include
	o.Status.ObservedRecurseSubmodules = k.Submodules
	o.Status.ObservedSparseCheckout = k.Sparse
	o.Status.IncludedArtifacts = nil
	for i := range k.Included {
		o.Status.IncludedArtifacts = append(o.Status.IncludedArtifacts, &k.Included[i])
	}
}

// Equal compares two keys; of included artifacts only revision and digest
// count.
func (k InputKey) Equal(other InputKey) bool {
	return (k.Ignore == nil) == (other.Ignore == nil) &&
		(k.Ignore == nil || *k.Ignore == *other.Ignore) &&
		slices.Equal(k.Include, other.Include) &&
		k.Submodules == other.Submodules &&
		slices.Equal(k.Sparse, other.Sparse) &&
		slices.EqualFunc(k.Included, other.Included, func(a, b meta.Artifact) bool {
			return a.HasRevision(b.Revision) && a.HasDigest(b.Digest)
		})
}

// includeChanged reports whether only the included repositories differ.
func (k InputKey) includeChanged(other InputKey) bool {
	return !slices.Equal(k.Include, other.Include) || len(k.Included) != len(other.Included) ||
		!slices.EqualFunc(k.Included, other.Included, func(a, b meta.Artifact) bool { return a.HasDigest(b.Digest) })
}

// sparseDirs drops a leading "./" of each directory.
func sparseDirs(dirs []string) []string {
	var out []string
	for _, d := range dirs {
		out = append(out, strings.TrimPrefix(d, "./"))
	}
	return out
}

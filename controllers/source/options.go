// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	apimeta "github.com/gitops-kit/sdk/apis/meta"
	v1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/runtime/reconcile"
	"github.com/gitops-kit/sdk/untar/ignore"
)

const workloadIdentityGate = "ObjectLevelWorkloadIdentity"

// Validate refuses what is wrong with the spec itself. enabled tells which
// feature gates are on, allowHTTP whether plain HTTP may be used.
func Validate(o *v1.GitRepository, enabled func(string) bool, allowHTTP bool) error {
	refuse := func(reason, format string, args ...any) error {
		return &RunError{Condition: v1.FetchFailedCondition, Why: reason, Class: Stalling, Text: fmt.Sprintf(format, args...)}
	}
	if !allowHTTP && strings.HasPrefix(strings.ToLower(o.Spec.URL), "http://") {
		return refuse(apimeta.InsecureConnectionsDisallowedReason, "Use of insecure HTTP connections isn't allowed for this controller")
	}
	switch o.Spec.Provider {
	case "", v1.GitProviderGeneric:
	case v1.GitProviderGitHub:
		if o.Spec.SecretRef == nil {
			return refuse(v1.InvalidProviderConfigurationReason, "secretRef with github app data must be specified when provider is set to github")
		}
	default:
		if o.Spec.ServiceAccountName != "" && !enabled(workloadIdentityGate) {
			return refuse(apimeta.FeatureGateDisabledReason, "to use spec.serviceAccountName for provider authentication please enable the ObjectLevelWorkloadIdentity feature gate in the controller")
		}
		return refuse(v1.InvalidProviderConfigurationReason, "provider '%s' is not served by this installation; use spec.secretRef", o.Spec.Provider)
	}
	return nil
}

// ReferenceOf returns what the spec wants checked out: branch master when it
// names nothing.
func ReferenceOf(o *v1.GitRepository) git.Reference {
	r := o.Spec.Reference
	if r == nil || *r == (v1.GitRepositoryRef{}) {
		return git.Reference{Branch: "master"}
	}
	return git.Reference{Branch: r.Branch, Tag: r.Tag, SemVer: r.SemVer, Name: r.Name, Commit: r.Commit}
}

// knownRevision returns the revision of the stored artifact, zero without.
func knownRevision(o *v1.GitRepository) git.Revision {
	if o.Status.Artifact == nil {
		return git.Revision{}
	}
	r, err := git.ParseRevision(o.Status.Artifact.Revision)
	if err != nil {
		return git.Revision{}
	}
	return r
}

// gitLimits applies --limit to the git engine.
func (f *Flags) gitLimits() git.Limits {
	return git.Limits{
		Advertisement: f.Limits["git-advertisement"],
		Refs:          f.Limits["git-refs"],
		Pack:          f.Limits["git-pack"],
		Inflated:      f.Limits["git-inflated"],
		Object:        f.Limits["git-object"],
		Objects:       f.Limits["git-objects"],
		Files:         f.Limits["worktree-files"],
		Bytes:         f.Limits["worktree-bytes"],
		Depth:         f.Limits["worktree-depth"],
	}
}

// exclusions builds the matcher of what an artifact leaves out: version control files
// always, the defaults unless somebody says otherwise, .sourceignore files
// scoped to their directory, and spec.ignore last.
func exclusions(o *v1.GitRepository, tree fs.FS, semantics string) (*ignore.Matcher, error) {
	rules := ignore.Options{ReincludeBelow: semantics != "git"}
	files, err := ignore.Load(tree, ignore.LoadOptions{Prune: ignore.VCS(), Options: rules})
	if err != nil {
		return nil, err
	}
	patterns := ignore.VCS()
	if len(files) == 0 && o.Spec.Ignore == nil {
		patterns = append(patterns, ignore.Defaults()...)
	}
	patterns = append(patterns, files...)
	if o.Spec.Ignore != nil {
		own, err := ignore.Parse(strings.NewReader(*o.Spec.Ignore), "", ignore.Options{File: "spec.ignore"})
		if err != nil {
			return nil, fmt.Errorf("spec.ignore: %w", err)
		}
		patterns = append(patterns, own...)
	}
	return ignore.New(patterns, rules)
}

// treeDir is where the checkout goes.
func (x *gitRun) treeDir() string { return filepath.Join(x.tree, "tree") }

// references names the Secrets whose change starts a run.
func references(o *v1.GitRepository) (secrets, configMaps []types.NamespacedName) {
	refs := []*apimeta.LocalObjectReference{o.Spec.SecretRef, o.Spec.ProxySecretRef}
	if v := o.Spec.Verification; v != nil {
		refs = append(refs, &v.SecretRef)
	}
	for _, r := range refs {
		if r != nil {
			secrets = append(secrets, types.NamespacedName{Name: r.Name})
		}
	}
	return secrets, nil
}

// includes starts a run when an included repository has a new artifact.
func includes() reconcile.Watch {
	return reconcile.Watch{
		Kind: &v1.GitRepository{},
		Map:  includedBy,
		When: func(old, now client.Object) bool {
			a, b := artifactOf(old), artifactOf(now)
			return b != nil && (a == nil || !a.HasDigest(b.Digest) || !a.HasRevision(b.Revision))
		},
	}
}

func artifactOf(o client.Object) *apimeta.Artifact {
	if r, ok := o.(*v1.GitRepository); ok && r != nil {
		return r.Status.Artifact
	}
	return nil
}

// includedBy returns the repositories whose new artifacts start a run of own.
func includedBy(own client.Object) []types.NamespacedName {
	o, ok := own.(*v1.GitRepository)
	if !ok {
		return nil
	}
	var out []types.NamespacedName
	for _, i := range o.Spec.Include {
		out = append(out, types.NamespacedName{Namespace: o.Namespace, Name: i.GitRepositoryRef.Name})
	}
	return out
}

// ownersOf returns the storage kind of a list and the names in it.
func ownersOf(list client.ObjectList) (string, map[types.NamespacedName]bool, error) {
	names := map[types.NamespacedName]bool{}
	objects, err := meta.ExtractList(list)
	if err != nil {
		return "", nil, err
	}
	for _, object := range objects {
		o, ok := object.(client.Object)
		if !ok {
			return "", nil, errors.New("list of something else than objects")
		}
		names[client.ObjectKeyFromObject(o)] = true
	}
	if _, ok := list.(*v1.GitRepositoryList); ok {
		return gitKind, names, nil
	}
	return "", nil, fmt.Errorf("unknown kind of source %T", list)
}

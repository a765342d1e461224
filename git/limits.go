// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"github.com/gitops-kit/sdk/git/internal/limits"
	"github.com/gitops-kit/sdk/git/internal/netguard"
	"github.com/gitops-kit/sdk/git/internal/packfile"
	"github.com/gitops-kit/sdk/git/internal/wire"
	"github.com/gitops-kit/sdk/git/internal/worktree"
)

// Limits bound what a server may send and a commit may hold. 0 is the default
// named on each field, a negative value no bound. Exceeding one is a
// [*LimitError] with the name in brackets.
type Limits struct {
	// Advertisement bounds a listing in bytes: 64 MiB (git-advertisement).
	Advertisement int64
	// Refs bounds the references kept of a listing: 200,000 (git-refs).
	Refs int64
	// Sideband bounds the server's text that is kept, in bytes: 64 KiB; the rest is cut.
	Sideband int64
	// Pack bounds a pack in bytes: 1 GiB (git-pack).
	Pack int64
	// Inflated bounds the sum of the objects of a pack in bytes: 4 GiB (git-inflated).
	Inflated int64
	// Object bounds one object in bytes: 256 MiB (git-object).
	Object int64
	// Objects bounds the number of objects: 2,000,000 (git-objects).
	Objects int64
	// DeltaDepth bounds delta chains: 4,095 (git-delta-depth).
	DeltaDepth int64
	// TreeDepth bounds the nesting of trees: 1,024 (git-tree-depth).
	TreeDepth int64
	// TagChain bounds tags of tags: 10 (git-tag-chain).
	TagChain int64
	// Symref bounds symbolic references that point to symbolic references: 5 (git-symref).
	Symref int64
	// Meta bounds a commit or tag in bytes: 1 MiB (git-meta).
	Meta int64
	// Signature bounds a signature in bytes: 64 KiB (git-signature).
	Signature int64
	// Keys bounds the keys of a verification: 1,000 (keys).
	Keys int64
	// Files bounds files, directories and links of a worktree: 200,000 (worktree-files).
	Files int64
	// Bytes bounds a worktree in bytes: 2 GiB (worktree-bytes).
	Bytes int64
	// Depth bounds the nesting of directories: 128 (worktree-depth).
	Depth int64
	// LinkTarget bounds the target of a symbolic link in bytes: 4,096; a longer one is left out with a note.
	LinkTarget int64
	// Submodules bounds the submodules of a checkout: 20 (submodules).
	Submodules int64
	// SubmoduleDepth bounds submodules of submodules: 3 (submodule-depth).
	SubmoduleDepth int64
	// LFSObject bounds one LFS object in bytes: 256 MiB (lfs-object).
	LFSObject int64
}

// HTTPLimits bound what a server may make a client wait for.
type HTTPLimits = netguard.HTTPLimits

// NetPolicy is the outbound policy: addresses, proxies, credentials over plain HTTP.
type NetPolicy = netguard.Policy

// HTTPCredentials says where credentials may travel over plain HTTP.
type HTTPCredentials = netguard.HTTPCredentials

// The values of NetPolicy.HTTPCredentials.
const (
	// Cluster allows hosts inside a cluster and loopback literals.
	Cluster = netguard.Cluster
	// Never allows none.
	Never = netguard.Never
	// Always allows all.
	Always = netguard.Always
)

// Unlimited lists the fields that are set negative, for whoever logs.
func (l Limits) Unlimited() []string { return limits.Unlimited(l) }

func (l Limits) wire() wire.Limits {
	return wire.Limits{
		Advertisement: limits.Or(l.Advertisement, 64<<20),
		Refs:          limits.Or(l.Refs, 200_000),
		Sideband:      limits.Or(l.Sideband, 64<<10),
		Symref:        limits.Or(l.Symref, 5),
	}
}

func (l Limits) pack() packfile.Limits {
	return packfile.Limits{Pack: l.Pack, Inflated: l.Inflated, Object: l.Object, Objects: l.Objects, DeltaDepth: l.DeltaDepth}
}

func (l Limits) tree() worktree.Limits {
	return worktree.Limits{Files: l.Files, Bytes: l.Bytes, Depth: l.Depth, LinkTarget: l.LinkTarget, TreeDepth: l.TreeDepth}
}

func (l Limits) meta() int64     { return limits.Or(l.Meta, 1<<20) }
func (l Limits) tagChain() int64 { return limits.Or(l.TagChain, 10) }

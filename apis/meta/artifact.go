// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package meta

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Artifact describes what a source produced: one immutable file with a URL,
// a revision and a digest.
type Artifact struct {
	// Path is the relative file path of the artifact below the storage root,
	// "<kind in lower case>/<namespace>/<name>/<file>".
	// +required
	Path string `json:"path"`

	// URL is the absolute HTTP address the artifact can be fetched from.
	// +required
	URL string `json:"url"`

	// Revision is a human-readable identifier of the source's state, such as a
	// commit, a digest or a chart version.
	// +required
	Revision string `json:"revision"`

	// Digest is the digest of the file in the form '<algorithm>:<checksum>'.
	// +required
	// +kubebuilder:validation:Pattern="^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$"
	Digest string `json:"digest"`

	// LastUpdateTime is when the file was stored.
	// +required
	LastUpdateTime metav1.Time `json:"lastUpdateTime"`

	// Size is the number of bytes in the file.
	// +optional
	Size *int64 `json:"size,omitempty"`

	// Metadata holds upstream information such as OCI annotations.
	// +optional
	Metadata map[string]string `json:"metadata,omitempty"`
}

// HasRevision reports whether the artifact is of that revision, by string
// equality. A nil artifact has none.
func (a *Artifact) HasRevision(revision string) bool {
	return a != nil && a.Revision == revision
}

// HasDigest reports whether the artifact has that digest, by string equality.
// A nil artifact has none.
func (a *Artifact) HasDigest(digest string) bool {
	return a != nil && a.Digest == digest
}

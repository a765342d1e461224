// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ociserver

import (
	"time"

	"github.com/gitops-kit/sdk/testserver/fault"
)

// Media types the registry gives a meaning to.
const (
	MediaTypeManifest       = "application/vnd.oci.image.manifest.v1+json"
	MediaTypeIndex          = "application/vnd.oci.image.index.v1+json"
	MediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeConfig         = "application/vnd.oci.image.config.v1+json"
	MediaTypeEmpty          = "application/vnd.oci.empty.v1+json"
	MediaTypeLayer          = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// AuthMode is how the registry authenticates.
type AuthMode int

const (
	// AuthNone lets everybody in.
	AuthNone AuthMode = iota
	// AuthBasic asks for name and password.
	AuthBasic
	// AuthToken sends clients to the token endpoint, "/token" on this server.
	AuthToken
)

// Auth guards a registry.
type Auth struct {
	// Mode; zero: AuthNone.
	Mode AuthMode
	// Users maps names to passwords.
	Users map[string]string
	// AnonymousPull lets everybody pull: without credentials in basic mode, with
	// an anonymous token in token mode.
	AnonymousPull bool
	// Access decides about each action: "pull", "push", "delete" or, for the
	// catalog, "*". Nil: every authenticated user may do everything.
	Access func(user, repo, action string) bool
	// Realm replaces the URL of the token endpoint in challenges.
	Realm string
	// Service is the service name; zero: "testserver".
	Service string
	// TokenLife is how long tokens live; zero: five minutes.
	TokenLife time.Duration
	// ExpireAfter ends a token after this many requests with it. 0: never.
	ExpireAfter int
	// Challenge replaces the whole WWW-Authenticate header.
	Challenge string
}

// Options configure a [Server]. The zero value is an open registry over plain
// HTTP with every feature.
type Options struct {
	// TLS serves HTTPS; RequireClientCert demands client certificates and implies TLS.
	TLS, RequireClientCert bool
	// HTTP2 offers HTTP/2 over TLS.
	HTTP2 bool
	// IPv6 listens on ::1 instead of 127.0.0.1.
	IPv6 bool
	// Hosts are further names in the TLS certificate.
	Hosts []string
	// Auth guards the registry.
	Auth Auth
	// Faults are the plans to begin with. Routes are "base", "blob", "upload",
	// "manifest", "tags", "referrers", "catalog" and "token".
	Faults []fault.Plan

	// ReadOnly refuses everything that writes with 405.
	ReadOnly bool
	// NoReferrers takes the referrers endpoint away; clients use the tag schema.
	NoReferrers bool
	// NoReferrersFilter ignores the artifactType filter.
	NoReferrersFilter bool
	// NoMount answers mount requests with an ordinary upload.
	NoMount bool
	// NoRange ignores Range; NoETag sends no ETag; NoDigestHeader no Docker-Content-Digest.
	NoRange, NoETag, NoDigestHeader bool
	// NoDelete refuses deletions with 405.
	NoDelete bool
	// Lenient accepts manifests whose blobs are not there.
	Lenient bool
	// PageSize is the largest page of tags and referrers; 0: unlimited.
	PageSize int
	// Link replaces the target of the Link header of a page, given the right one.
	Link func(next string) string
	// ChunkMin is announced as OCI-Chunk-Min-Length. 0: not announced.
	ChunkMin int

	// OnManifest runs before a manifest is looked up, by HEAD or GET; ref is a
	// tag or digest. It may change the registry.
	OnManifest func(s *Server, repo, ref string)
	// OnManifestServed runs after a manifest was sent.
	OnManifestServed func(s *Server, repo, ref string)
	// BlobRedirect returns where blob requests are redirected to; "" serves them.
	BlobRedirect func(repo, digest string) string
	// UploadLocation replaces the Location of uploads, given the right one.
	UploadLocation func(right string) string
}

// Descriptor names content.
type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	URLs         []string          `json:"urls,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	Platform     *Platform         `json:"platform,omitempty"`
}

// Platform is what an image of an index runs on.
type Platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant,omitempty"`
}

// Layer is one layer of an [Artifact].
type Layer struct {
	// MediaType; zero: MediaTypeLayer.
	MediaType string
	// Content is the blob.
	Content []byte
	// Annotations of the descriptor.
	Annotations map[string]string
}

// Artifact describes an image manifest to push.
type Artifact struct {
	// MediaType; zero: MediaTypeManifest.
	MediaType string
	// ArtifactType is left out if zero.
	ArtifactType string
	// ConfigMediaType; zero: MediaTypeEmpty.
	ConfigMediaType string
	// Config is the config blob; nil: "{}".
	Config []byte
	// Layers; none: one empty blob.
	Layers []Layer
	// Subject makes the manifest a referrer.
	Subject *Descriptor
	// Annotations of the manifest.
	Annotations map[string]string
}

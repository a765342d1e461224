// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package v1

// Condition types of sources, beside Ready, Reconciling and Stalled.
const (
	// ArtifactInStorageCondition is True while the artifact of the status is stored.
	ArtifactInStorageCondition = "ArtifactInStorage"
	// ArtifactOutdatedCondition is True while a newer artifact is known.
	ArtifactOutdatedCondition = "ArtifactOutdated"
	// FetchFailedCondition is True while the upstream cannot be fetched.
	FetchFailedCondition = "FetchFailed"
	// BuildFailedCondition is True while a chart cannot be built.
	BuildFailedCondition = "BuildFailed"
	// IncludeUnavailableCondition is True while an include cannot be used.
	IncludeUnavailableCondition = "IncludeUnavailable"
	// StorageOperationFailedCondition is True while storing fails.
	StorageOperationFailedCondition = "StorageOperationFailed"
	// SourceVerifiedCondition is the verdict of the last signature verification.
	SourceVerifiedCondition = "SourceVerified"
)

// Reasons of sources.
const (
	// URLInvalidReason: the URL cannot be used.
	URLInvalidReason = "URLInvalid"
	// AuthenticationFailedReason: credentials are missing, malformed or refused.
	AuthenticationFailedReason = "AuthenticationFailed"
	// VerificationError: the signature does not verify.
	VerificationError = "VerificationError"
	// InvalidVerificationModeReason: the mode does not fit the reference.
	InvalidVerificationModeReason = "InvalidVerificationMode"
	// InvalidGitObjectReason: the object cannot be verified.
	InvalidGitObjectReason = "InvalidGitObject"
	// InvalidTagSignatureReason: the signature of the tag does not verify.
	InvalidTagSignatureReason = "InvalidTagSignature"
	// InvalidCommitSignatureReason: the signature of the commit does not verify.
	InvalidCommitSignatureReason = "InvalidCommitSignature"
	// GitOperationFailedReason: a Git operation failed.
	GitOperationFailedReason = "GitOperationFailed"
	// GitOperationSucceedReason: a Git operation succeeded.
	GitOperationSucceedReason = "GitOperationSucceeded"
	// EmptyGitRepositoryReason: the repository has no commit.
	EmptyGitRepositoryReason = "EmptyGitRepository"
	// InvalidProviderConfigurationReason: provider and Secret do not fit.
	InvalidProviderConfigurationReason = "InvalidProviderConfiguration"
	// OCIPullFailedReason: the artifact could not be pulled.
	OCIPullFailedReason = "OCIArtifactPullFailed"
	// OCILayerOperationFailedReason: the layer could not be used.
	OCILayerOperationFailedReason = "OCIArtifactLayerOperationFailed"
	// ReadOperationFailedReason: the tag could not be chosen.
	ReadOperationFailedReason = "ReadOperationFailed"
	// BucketOperationFailedReason: a bucket operation failed.
	BucketOperationFailedReason = "BucketOperationFailed"
	// InvalidSTSConfigurationReason: the STS configuration cannot be used.
	InvalidSTSConfigurationReason = "InvalidSTSConfiguration"
	// IndexationFailedReason: the index of a Helm repository cannot be decoded.
	IndexationFailedReason = "IndexationFailed"
	// SourceUnavailableReason: the source of a chart does not exist.
	SourceUnavailableReason = "SourceUnavailable"
	// NoSourceArtifactReason: the source of a chart has no artifact yet.
	NoSourceArtifactReason = "NoSourceArtifact"
	// UnsupportedSourceKindReason: the kind of the source is not supported.
	UnsupportedSourceKindReason = "UnsupportedSourceKind"
	// InvalidChartReferenceReason: the chart or its version does not exist.
	InvalidChartReferenceReason = "InvalidChartReference"
	// ChartPullErrorReason: the chart could not be pulled.
	ChartPullErrorReason = "ChartPullError"
	// ChartPullSucceededReason: the chart was stored as it was published.
	ChartPullSucceededReason = "ChartPullSucceeded"
	// ChartPackageSucceededReason: the chart was packaged here.
	ChartPackageSucceededReason = "ChartPackageSucceeded"
	// ChartPackageErrorReason: the chart could not be packaged.
	ChartPackageErrorReason = "ChartPackageError"
	// ChartVerificationErrorReason: the chart does not verify.
	ChartVerificationErrorReason = "ChartVerificationError"
	// MetadataPatchErrorReason: the chart's metadata could not be changed.
	MetadataPatchErrorReason = "MetadataPatchError"
	// ValuesFilesErrorReason: the values files could not be merged.
	ValuesFilesErrorReason = "ValuesFilesError"
	// DependencyBuildErrorReason: a dependency of the chart is unavailable.
	DependencyBuildErrorReason = "DependencyBuildError"
	// UnknownReason: the cause is not known.
	UnknownReason = "Unknown"
	// NotFoundReason: an included source does not exist.
	NotFoundReason = "NotFound"
	// NoArtifactReason: an included source has no artifact yet.
	NoArtifactReason = "NoArtifact"
	// DirectoryCreationFailedReason: a directory could not be made.
	DirectoryCreationFailedReason = "DirectoryCreationFailed"
	// StatOperationFailedReason: a file could not be examined.
	StatOperationFailedReason = "StatOperationFailed"
	// AcquireLockFailedReason: the storage lock is held by another process.
	AcquireLockFailedReason = "AcquireLockFailed"
	// ArchiveOperationFailedReason: the archive could not be written.
	ArchiveOperationFailedReason = "ArchiveOperationFailed"
	// IllegalPathReason: a path leaves its root.
	IllegalPathReason = "IllegalPath"
	// CopyFailureReason: a file could not be copied.
	CopyFailureReason = "CopyFailure"
	// StorageFullReason: there is not enough free space.
	StorageFullReason = "StorageFull"
	// AddressBlockedReason: the dial policy refuses an address.
	AddressBlockedReason = "AddressBlocked"
	// NewRevisionReason: a new upstream revision was found.
	NewRevisionReason = "NewRevision"
	// IncludeChangeReason: an included artifact changed.
	IncludeChangeReason = "IncludeChange"
	// NewChartReason: a new version of the chart was found.
	NewChartReason = "NewChart"
	// NewArtifactReason: an artifact was stored.
	NewArtifactReason = "NewArtifact"
	// ArtifactUpToDateReason: the stored artifact is that of the upstream revision.
	ArtifactUpToDateReason = "ArtifactUpToDate"
	// ArtifactVerificationFailedReason: the stored file does not match its digest.
	ArtifactVerificationFailedReason = "ArtifactVerificationFailed"
	// GarbageCollectionSucceededReason: superseded files were removed.
	GarbageCollectionSucceededReason = "GarbageCollectionSucceeded"
	// GarbageCollectionFailedReason: superseded files could not be removed.
	GarbageCollectionFailedReason = "GarbageCollectionFailed"
	// ResolvedDependenciesReason: the dependencies of a chart were found.
	ResolvedDependenciesReason = "ResolvedDependencies"
	// SymlinkUpdateFailedReason: the stable link could not be changed.
	SymlinkUpdateFailedReason = "SymlinkUpdateFailed"
	// CacheOperationFailedReason: a cache could not be used.
	CacheOperationFailedReason = "CacheOperationFailed"
	// InsecureTransportReason: the transport is not verified.
	InsecureTransportReason = "InsecureTransport"
	// UnanchoredIdentityReason: an identity expression matches only without anchors.
	UnanchoredIdentityReason = "UnanchoredIdentity"
	// FilterUnsupportedReason: the server does not support partial fetches.
	FilterUnsupportedReason = "FilterUnsupported"
)

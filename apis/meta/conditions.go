// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package meta

// Condition types that every reconciled kind may have. Ready and Healthy are
// positive; Reconciling and Stalled are negative and present only while True.
const (
	// ReadyCondition tells whether the object is in its desired state.
	ReadyCondition = "Ready"
	// ReconcilingCondition is True while a run is in progress or will be retried.
	ReconcilingCondition = "Reconciling"
	// StalledCondition is True while nothing will happen until somebody acts.
	StalledCondition = "Stalled"
	// HealthyCondition reports the last health assessment, where one is configured.
	HealthyCondition = "Healthy"
)

// Reasons shared by all kinds. Their meaning never changes.
const (
	// SucceededReason: the operation succeeded.
	SucceededReason = "Succeeded"
	// FailedReason: the operation failed and no better reason is known.
	FailedReason = "Failed"
	// ProgressingReason: a run is in progress.
	ProgressingReason = "Progressing"
	// ProgressingWithRetryReason: the last run failed and will be retried.
	ProgressingWithRetryReason = "ProgressingWithRetry"
	// SuspendedReason: reconciliation is suspended.
	SuspendedReason = "Suspended"
	// DependencyNotReadyReason: another object is not ready yet.
	DependencyNotReadyReason = "DependencyNotReady"
	// InvalidPathReason: a path does not exist or is not allowed.
	InvalidPathReason = "InvalidPath"
	// InvalidURLReason: a URL cannot be used.
	InvalidURLReason = "InvalidURL"
	// InsecureConnectionsDisallowedReason: plain HTTP is needed and not allowed.
	InsecureConnectionsDisallowedReason = "InsecureConnectionsDisallowed"
	// UnsupportedConnectionTypeReason: the kind of connection is not supported.
	UnsupportedConnectionTypeReason = "UnsupportedConnectionType"
	// PruneFailedReason: objects that left the set could not be deleted.
	PruneFailedReason = "PruneFailed"
	// ArtifactFailedReason: the artifact could not be fetched or verified.
	ArtifactFailedReason = "ArtifactFailed"
	// BuildFailedReason: rendering failed.
	BuildFailedReason = "BuildFailed"
	// HealthCheckFailedReason: an object did not become healthy.
	HealthCheckFailedReason = "HealthCheckFailed"
	// HealthCheckCanceledReason: a health check was cut short by a newer run.
	HealthCheckCanceledReason = "HealthCheckCanceled"
	// ReconciliationSucceededReason: the run succeeded.
	ReconciliationSucceededReason = "ReconciliationSucceeded"
	// ReconciliationFailedReason: the run failed.
	ReconciliationFailedReason = "ReconciliationFailed"
	// InvalidCELExpressionReason: a CEL expression does not compile.
	InvalidCELExpressionReason = "InvalidCELExpression"
	// FeatureGateDisabledReason: the spec needs a feature that is off.
	FeatureGateDisabledReason = "FeatureGateDisabled"
	// AccessDeniedReason: a reference to another namespace was refused.
	AccessDeniedReason = "AccessDenied"

	// InvalidSpecReason: a field of the spec holds a value that cannot be used.
	InvalidSpecReason = "InvalidSpec"
	// DependencyCycleReason: the object is a member of a dependency cycle.
	DependencyCycleReason = "DependencyCycle"
	// PruneBlockedReason: a guard refused a deletion.
	PruneBlockedReason = "PruneBlocked"
	// InventoryFailedReason: the inventory could not be read or stored.
	InventoryFailedReason = "InventoryFailed"
	// LimitExceededReason: an input exceeded a documented limit.
	LimitExceededReason = "LimitExceeded"
	// ReconcilePanicReason: a run ended in a recovered panic.
	ReconcilePanicReason = "ReconcilePanic"
)

// Bounds of a condition, as the standard schema has them.
const (
	// MaxConditionMessage is the greatest length of a condition message in bytes.
	MaxConditionMessage = 32768
	// MaxConditionReason is the greatest length of a reason in bytes.
	MaxConditionReason = 1024
	// MaxConditionType is the greatest length of a condition type in bytes.
	MaxConditionType = 316
)

// Finalizer is put on every reconciled object before the first side effect.
const Finalizer = "finalizers.fluxcd.io"

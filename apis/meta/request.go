// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package meta

// Annotations by which a user asks for a run.
const (
	// ReconcileRequestAnnotation asks for a run now; any change of its value does.
	ReconcileRequestAnnotation = "reconcile.fluxcd.io/requestedAt"
	// ForceRequestAnnotation asks for a forced run, together with the request.
	ForceRequestAnnotation = "reconcile.fluxcd.io/forceAt"
	// ResetRequestAnnotation asks to reset failure counts, together with the request.
	ResetRequestAnnotation = "reconcile.fluxcd.io/resetAt"
)

// ReconcileRequestStatus is embedded in the status of kinds that handle
// requests.
type ReconcileRequestStatus struct {
	// LastHandledReconcileAt is the value of the request annotation that the
	// last finished run saw.
	// +optional
	LastHandledReconcileAt string `json:"lastHandledReconcileAt,omitempty"`
}

// GetLastHandledReconcileRequest returns the last handled request token.
func (s ReconcileRequestStatus) GetLastHandledReconcileRequest() string {
	return s.LastHandledReconcileAt
}

// SetLastHandledReconcileRequest records a handled request token.
func (s *ReconcileRequestStatus) SetLastHandledReconcileRequest(token string) {
	s.LastHandledReconcileAt = token
}

// ForceRequestStatus is embedded in the status of kinds that can be forced.
type ForceRequestStatus struct {
	// LastHandledForceAt is the value of the force annotation that the last
	// finished run saw.
	// +optional
	LastHandledForceAt string `json:"lastHandledForceAt,omitempty"`
}

// ReconcileRequested returns the request token; ok is false when there is none
// or it is empty. Values are never interpreted.
func ReconcileRequested(annotations map[string]string) (token string, ok bool) {
	token = annotations[ReconcileRequestAnnotation]
	return token, token != ""
}

// RequestObject is what a request is read from.
//
// +kubebuilder:object:generate=false
type RequestObject interface {
	GetAnnotations() map[string]string
}

// handledRequester is an object that has a place for the last handled request
// token, as every reconciled kind does.
//
// +kubebuilder:object:generate=false
type handledRequester interface {
	HandledRequest() *string
}

// HandleRequest reports whether the request in annotation must be acted upon:
// it is set, equal to the reconcile request, different from *last, and the
// reconcile request has not been handled before. Whether it has is asked of o,
// when o has the method HandledRequest() *string. It changes nothing: record the
// value with [RecordRequest] in the status write that ends the run.
func HandleRequest(o RequestObject, annotation string, last *string) bool {
	annotations := o.GetAnnotations()
	value := annotations[annotation]
	if value == "" || last != nil && *last == value {
		return false
	}
	token, ok := ReconcileRequested(annotations)
	if !ok || token != value {
		return false
	}
	if r, ok := o.(handledRequester); ok {
		if handled := r.HandledRequest(); handled != nil && *handled == token {
			return false
		}
	}
	return true
}

// RecordRequest stores the value of annotation in *last. An absent annotation
// leaves it untouched.
func RecordRequest(o RequestObject, annotation string, last *string) {
	if value := o.GetAnnotations()[annotation]; value != "" && last != nil {
		*last = value
	}
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// EventGroup is the prefix of event metadata keys that users set by annotation.
const EventGroup = "event.toolkit.fluxcd.io"

// Severities of an event.
const (
	EventSeverityTrace = "trace"
	EventSeverityInfo  = "info"
	EventSeverityError = "error"
)

// Metadata keys, without prefix.
const (
	// MetaRevisionKey is the revision the event is about.
	MetaRevisionKey = "revision"
	// MetaOriginRevisionKey is the revision in the source the artifact was made from.
	MetaOriginRevisionKey = "originRevision"
	// MetaDigestKey is the digest of the artifact.
	MetaDigestKey = "digest"
	// MetaChecksumKey is the former name of the digest.
	MetaChecksumKey = "checksum"
	// MetaTokenKey makes otherwise equal events distinct.
	MetaTokenKey = "token"
	// MetaCommitKey is the commit of an update.
	MetaCommitKey = "commit"
	// MetaCommitStatusKey asks for a commit status.
	MetaCommitStatusKey = "commit_status"
	// MetaCommitStatusUpdateValue is the value of MetaCommitStatusKey that does.
	MetaCommitStatusUpdateValue = "update"
	// MetaChangeRequestKey names a pull or merge request.
	MetaChangeRequestKey = "change_request"
	// MetaSummaryKey is a short text about the event.
	MetaSummaryKey = "summary"
	// MetaGroupKey names the group a digest of events belongs to.
	MetaGroupKey = "group"
	// MetaGroupCountKey counts the events of the group.
	MetaGroupCountKey = "group_count"
)

// Limits of an event.
const (
	// MaxEventMessage is the greatest number of characters in a message.
	MaxEventMessage = 39000
	// MaxEventMetadata is the greatest number of metadata entries.
	MaxEventMetadata = 256
	// MaxEventMetadataBytes is the greatest size of a metadata entry, key and value.
	MaxEventMetadataBytes = 8 << 10
)

// ObjectReference names an object; its JSON is that of the core type.
type ObjectReference struct {
	// Kind of the object.
	// +optional
	Kind string `json:"kind,omitempty"`
	// Namespace of the object.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// Name of the object.
	// +optional
	Name string `json:"name,omitempty"`
	// UID of the object.
	// +optional
	UID types.UID `json:"uid,omitempty"`
	// APIVersion of the object.
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`
	// ResourceVersion the reference was made from.
	// +optional
	ResourceVersion string `json:"resourceVersion,omitempty"`
	// FieldPath names a part of the object.
	// +optional
	FieldPath string `json:"fieldPath,omitempty"`
}

// Event is the payload that controllers send to the notification controller
// and that it sends to generic webhooks.
type Event struct {
	// InvolvedObject is the object the event is about.
	// +required
	InvolvedObject ObjectReference `json:"involvedObject"`

	// Severity is trace, info or error.
	// +kubebuilder:validation:Enum=trace;info;error
	// +required
	Severity string `json:"severity"`

	// Timestamp is when the event was recorded, in seconds.
	// +required
	Timestamp metav1.Time `json:"timestamp"`

	// Message is the text for humans, at most 39,000 characters.
	// +kubebuilder:validation:MaxLength=39000
	// +required
	Message string `json:"message"`

	// Reason is a short word for machines.
	// +required
	Reason string `json:"reason"`

	// Metadata holds further values, such as the revision.
	// +optional
	Metadata map[string]string `json:"metadata,omitempty"`

	// ReportingController is the controller that emitted the event.
	// +required
	ReportingController string `json:"reportingController"`

	// ReportingInstance is the instance of it, usually its host name.
	// +optional
	ReportingInstance string `json:"reportingInstance,omitempty"`
}

// HasReason reports whether the event has exactly that reason.
func (e *Event) HasReason(reason string) bool { return e != nil && e.Reason == reason }

// HasMetadata reports whether the event has exactly that value under key.
func (e *Event) HasMetadata(key, value string) bool {
	if e == nil {
		return false
	}
	v, ok := e.Metadata[key]
	return ok && v == value
}

// GetRevision returns the metadata value of commit, else originRevision, else
// revision; ok is false when there is none of them. Keys are bare.
func (e *Event) GetRevision() (revision string, ok bool) {
	if e == nil {
		return "", false
	}
	for _, key := range []string{MetaCommitKey, MetaOriginRevisionKey, MetaRevisionKey} {
		if v, found := e.Metadata[key]; found {
			return v, true
		}
	}
	return "", false
}

// Encode returns the JSON of the event: fields in the order of the type,
// metadata keys sorted. A message over the limit is cut at a rune boundary and
// ends in "…". A missing required field, an unknown severity and metadata over
// the limits are a [*EventError]; nothing malformed is returned.
func (e *Event) Encode() ([]byte, error) {
	if e == nil {
		return nil, &EventError{Field: "involvedObject", Why: "missing"}
	}
	if err := e.validate(); err != nil {
		return nil, err
	}
	out := *e
	out.Message = CutMessage(strings.ToValidUTF8(e.Message, "\uFFFD"), MaxEventMessage)
	return json.Marshal(out)
}

func (e *Event) validate() error {
	switch {
	case e.InvolvedObject.Kind == "":
		return &EventError{Field: "involvedObject.kind", Why: "missing"}
	case e.InvolvedObject.Name == "":
		return &EventError{Field: "involvedObject.name", Why: "missing"}
	case e.Severity != EventSeverityTrace && e.Severity != EventSeverityInfo && e.Severity != EventSeverityError:
		return &EventError{Field: "severity", Why: "not one of trace, info, error"}
	case e.Timestamp.IsZero():
		return &EventError{Field: "timestamp", Why: "missing"}
	case e.Message == "":
		return &EventError{Field: "message", Why: "missing"}
	case e.Reason == "":
		return &EventError{Field: "reason", Why: "missing"}
	case e.ReportingController == "":
		return &EventError{Field: "reportingController", Why: "missing"}
	case len(e.Metadata) > MaxEventMetadata:
		return &EventError{Field: "metadata", Why: "more than 256 entries"}
	}
	for k, v := range e.Metadata {
		if len(k)+len(v) > MaxEventMetadataBytes {
			return &EventError{Field: "metadata", Why: "entry larger than 8 KiB"}
		}
	}
	return nil
}

// CutMessage cuts s to at most n characters; a cut text ends in "…", which
// counts as one. A limit below 1 gives "".
func CutMessage(s string, n int) string {
	if n < 1 {
		return ""
	}
	if len(s) <= n || utf8.RuneCountInString(s) <= n {
		return s
	}
	seen := 0
	for i := range s {
		if seen == n-1 {
			return s[:i] + "…"
		}
		seen++
	}
	return s
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"maps"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/internal/text"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Type of an event.
type Type string

// Types.
const (
	// Normal events inform.
	Normal Type = "Normal"
	// Warning events report a failure.
	Warning Type = "Warning"
	// Trace events go to the Kubernetes API only, as Normal.
	Trace Type = "Trace"
)

// Object is what an event is about.
type Object interface {
	runtime.Object
	metav1.Object
}

// Event is what happened to an object.
type Event struct {
	// Object it happened to. It is read when the event is emitted, not later.
	Object Object
	// Type is Normal, Warning or Trace; anything else is Normal.
	Type Type
	// Reason is a word for machines; "" is Unknown.
	Reason string
	// Message for humans.
	Message string
	// Metadata, with bare keys: the prefix is added.
	Metadata map[string]string
}

// Record is an event ready to be sent.
type Record struct {
	// Payload is the wire form.
	Payload meta.Event
	// Type of the event.
	Type Type
	// Key is equal for events about the same object.
	Key string
	seq uint64
}

// info reports whether the event may be dropped first.
func (r *Record) info() bool { return r.Type != Warning }

// record builds the wire form of e; ok is false when it must not be sent.
func (r *Recorder) record(e Event, now time.Time) (*Record, bool) {
	if isNil(e.Object) {
		return nil, false
	}
	typ := e.Type
	if typ != Warning && typ != Trace {
		typ = Normal
	}
	ref := r.reference(e.Object)
	if ref.Kind == "" || ref.Name == "" {
		return nil, false
	}
	p := meta.Event{
		InvolvedObject:      ref,
		Severity:            severity(typ),
		Timestamp:           metav1.NewTime(now.UTC().Truncate(time.Second)),
		Message:             message(e.Message),
		Reason:              e.Reason,
		Metadata:            r.metadata(e, ref),
		ReportingController: r.o.Controller,
		ReportingInstance:   r.o.Instance,
	}
	if p.Reason == "" {
		p.Reason = "Unknown"
	}
	if p.Message == "" {
		p.Message = p.Reason
	}
	return &Record{Payload: p, Type: typ, Key: string(ref.UID) + "/" + ref.Kind + "/" + ref.Namespace + "/" + ref.Name}, true
}

// message escapes and cuts.
func message(s string) string {
	return meta.CutMessage(text.Escape(s, 4*meta.MaxEventMessage), meta.MaxEventMessage)
}

func severity(t Type) string {
	switch t {
	case Warning:
		return meta.EventSeverityError
	case Trace:
		return meta.EventSeverityTrace
	default:
		return meta.EventSeverityInfo
	}
}

func (r *Recorder) reference(o Object) meta.ObjectReference {
	gvk := o.GetObjectKind().GroupVersionKind()
	if gvk.Kind == "" && r.o.Scheme != nil {
		if kinds, _, err := r.o.Scheme.ObjectKinds(o); err == nil && len(kinds) > 0 {
			gvk = kinds[0]
		}
	}
	apiVersion, kind := gvk.ToAPIVersionAndKind()
	return meta.ObjectReference{
		APIVersion: apiVersion, Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(),
		UID: o.GetUID(), ResourceVersion: o.GetResourceVersion(),
	}
}

// metadata merges, later wins: the object's annotations of the event group, the
// metadata of the event under the prefix of the object's group. Entries beyond
// the limits are dropped, the event is sent.
func (r *Recorder) metadata(e Event, ref meta.ObjectReference) map[string]string {
	out := map[string]string{}
	for k, v := range e.Object.GetAnnotations() {
		if strings.HasPrefix(k, meta.EventGroup+"/") {
			out[k] = v
		}
	}
	group, _, ok := strings.Cut(ref.APIVersion, "/")
	if !ok {
		group = ""
	}
	for k, v := range e.Metadata {
		switch {
		case strings.Contains(k, "/") || group == "":
			out[k] = v
		default:
			out[group+"/"+k] = v
		}
	}
	bytesMax := meta.MaxEventMetadataBytes
	maps.DeleteFunc(out, func(k, v string) bool { return len(k)+len(v) > bytesMax })
	for k := range out {
		if len(out) <= meta.MaxEventMetadata {
			break
		}
		delete(out, k)
	}
	if len(out) == 0 {
		return nil
	}
	for k, v := range out {
		out[k] = text.Escape(v, bytesMax)
	}
	return out
}

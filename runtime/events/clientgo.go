// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
)

// ClientGo is a [Recorder] with the methods of client-go's EventRecorder, for
// libraries that want one.
type ClientGo struct{ recorder *Recorder }

// ClientGo returns the adapter.
func (r *Recorder) ClientGo() ClientGo { return ClientGo{recorder: r} }

// Event emits an event.
func (c ClientGo) Event(object runtime.Object, eventtype, reason, message string) {
	c.emit(object, nil, eventtype, reason, message)
}

// Eventf emits an event with a formatted message.
func (c ClientGo) Eventf(object runtime.Object, eventtype, reason, messageFmt string, args ...any) {
	c.emit(object, nil, eventtype, reason, fmt.Sprintf(messageFmt, args...))
}

// AnnotatedEventf emits an event with metadata.
func (c ClientGo) AnnotatedEventf(object runtime.Object, annotations map[string]string, eventtype, reason, messageFmt string, args ...any) {
	c.emit(object, annotations, eventtype, reason, fmt.Sprintf(messageFmt, args...))
}

func (c ClientGo) emit(object runtime.Object, annotations map[string]string, eventtype, reason, message string) {
	o, _ := object.(Object) // nil is counted as invalid
	c.recorder.Emit(Event{Object: o, Type: Type(eventtype), Reason: reason, Message: message, Metadata: annotations})
}

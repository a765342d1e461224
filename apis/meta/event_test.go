// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package meta_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gitops-kit/sdk/apis/meta"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func event() *meta.Event {
	return &meta.Event{
		InvolvedObject: meta.ObjectReference{
			Kind: "GitRepository", Namespace: "flux-system", Name: "podinfo", UID: "7d0cdc51",
			APIVersion: "source.toolkit.fluxcd.io/v1", ResourceVersion: "42",
		},
		Severity: meta.EventSeverityInfo, Timestamp: metav1.NewTime(time.Date(2026, 11, 25, 8, 0, 0, 999, time.UTC)),
		Message: "stored artifact <b>", Reason: "NewArtifact",
		Metadata:            map[string]string{"source.toolkit.fluxcd.io/revision": "main@sha1:a", "source.toolkit.fluxcd.io/digest": "sha256:b"},
		ReportingController: "source-controller", ReportingInstance: "source-controller-0",
	}
}

// EVT-3: fixed field order, sorted keys, the same bytes every time.
func TestEventEncoding(t *testing.T) {
	g := NewWithT(t)
	want := `{"involvedObject":{"kind":"GitRepository","namespace":"flux-system","name":"podinfo","uid":"7d0cdc51",` +
		`"apiVersion":"source.toolkit.fluxcd.io/v1","resourceVersion":"42"},"severity":"info","timestamp":"2026-11-25T08:00:00Z",` +
		`"message":"stored artifact \u003cb\u003e","reason":"NewArtifact","metadata":{"source.toolkit.fluxcd.io/digest":"sha256:b",` +
		`"source.toolkit.fluxcd.io/revision":"main@sha1:a"},"reportingController":"source-controller","reportingInstance":"source-controller-0"}`
	for range 20 {
		got, err := event().Encode()
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(got)).To(Equal(want))
	}
	e := event()
	e.Metadata, e.ReportingInstance, e.InvolvedObject.Namespace = nil, "", ""
	got, err := e.Encode()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(got)).NotTo(Or(ContainSubstring("metadata"), ContainSubstring("reportingInstance"), ContainSubstring("namespace")))
}

// EVT-3: what is required must be there; what is too large is cut or refused.
func TestEventLimits(t *testing.T) {
	cases := map[string]struct {
		reason string
		damage func(*meta.Event)
		field  string
	}{
		"Object":     {reason: "no kind", damage: func(e *meta.Event) { e.InvolvedObject.Kind = "" }, field: "involvedObject.kind"},
		"Name":       {reason: "no name", damage: func(e *meta.Event) { e.InvolvedObject.Name = "" }, field: "involvedObject.name"},
		"Severity":   {reason: "not a severity", damage: func(e *meta.Event) { e.Severity = "warn" }, field: "severity"},
		"Timestamp":  {reason: "no time", damage: func(e *meta.Event) { e.Timestamp = metav1.Time{} }, field: "timestamp"},
		"Message":    {reason: "no message", damage: func(e *meta.Event) { e.Message = "" }, field: "message"},
		"Reason":     {reason: "no reason", damage: func(e *meta.Event) { e.Reason = "" }, field: "reason"},
		"Controller": {reason: "no controller", damage: func(e *meta.Event) { e.ReportingController = "" }, field: "reportingController"},
		"Entries": {reason: "too many entries", field: "metadata", damage: func(e *meta.Event) {
			for i := range 257 {
				e.Metadata[fmt.Sprint(i)] = ""
			}
		}},
		"Entry": {reason: "an entry too large", field: "metadata", damage: func(e *meta.Event) { e.Metadata["k"] = strings.Repeat("v", 8<<10) }},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			e := event()
			tc.damage(e)
			data, err := e.Encode()
			var ee *meta.EventError
			g.Expect(errors.As(err, &ee)).To(BeTrue(), tc.reason)
			g.Expect(ee.Field).To(Equal(tc.field), tc.reason)
			g.Expect(data).To(BeNil(), "nothing malformed is returned")
		})
	}
	g := NewWithT(t)
	e := event()
	e.Message = strings.Repeat("ü", meta.MaxEventMessage+10)
	data, err := e.Encode()
	g.Expect(err).NotTo(HaveOccurred())
	var back meta.Event
	g.Expect(json.Unmarshal(data, &back)).To(Succeed())
	g.Expect(utf8.RuneCountInString(back.Message)).To(Equal(meta.MaxEventMessage))
	g.Expect(back.Message).To(HaveSuffix("ü…"))
	_, err = (*meta.Event)(nil).Encode()
	g.Expect(errors.As(err, new(*meta.EventError))).To(BeTrue())
}

// EVT-2
func TestEventAccessors(t *testing.T) {
	g := NewWithT(t)
	e := &meta.Event{Reason: "R", Metadata: map[string]string{"revision": "r"}}
	rev := func() string { r, _ := e.GetRevision(); return r }
	g.Expect(rev()).To(Equal("r"))
	e.Metadata["originRevision"] = "o"
	g.Expect(rev()).To(Equal("o"))
	e.Metadata["commit"] = "c"
	g.Expect(rev()).To(Equal("c"))
	g.Expect(e.HasReason("R")).To(BeTrue())
	g.Expect(e.HasReason("r")).To(BeFalse())
	g.Expect(e.HasMetadata("commit", "c")).To(BeTrue())
	g.Expect(e.HasMetadata("commit", "C")).To(BeFalse())
	_, ok := (&meta.Event{}).GetRevision()
	g.Expect(ok).To(BeFalse())
	g.Expect((*meta.Event)(nil).HasReason("")).To(BeFalse())
}

func FuzzEventDecode(f *testing.F) {
	data, _ := event().Encode()
	f.Add(data)
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var e meta.Event
		if json.Unmarshal(data, &e) != nil {
			return
		}
		out, err := e.Encode()
		if err != nil {
			if !errors.As(err, new(*meta.EventError)) {
				t.Fatal(err)
			}
			return
		}
		var again meta.Event
		if err := json.Unmarshal(out, &again); err != nil {
			t.Fatal(err)
		}
	})
}

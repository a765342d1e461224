// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package eventserver_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"

	"github.com/gitops-kit/sdk/testserver/eventserver"
	"github.com/gitops-kit/sdk/testserver/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const payload = `{"involvedObject":{"kind":"Kustomization","namespace":"ns","name":"app","apiVersion":"v1"},"severity":"info",` +
	`"timestamp":"2024-01-01T00:00:00Z","message":"applied","reason":"ReconciliationSucceeded","metadata":{"g/revision":"main@sha1:abc"},` +
	`"reportingController":"kustomize-controller","reportingInstance":"h"}`

func post(t *testing.T, s *eventserver.Server, body, token string) int {
	t.Helper()
	c := s.Client()
	defer c.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL()+"/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// TST-23
func TestRecordsDedupsAndAnswersByPlan(t *testing.T) {
	g := NewWithT(t)
	s := eventserver.Start(t, eventserver.Options{Dedup: eventserver.Key, Strict: true})
	g.Expect(post(t, s, payload, "")).To(Equal(202))
	g.Expect(post(t, s, payload, "")).To(Equal(429))
	g.Expect(post(t, s, strings.Replace(payload, "applied", "again", 1), "")).To(Equal(202))
	g.Expect(post(t, s, `{}`, "")).To(Equal(400))
	g.Expect(post(t, s, `nonsense`, "")).To(Equal(400))
	g.Expect(s.Events()).To(HaveLen(2))
	e := s.Events()[0]
	g.Expect(e.InvolvedObject.Name).To(Equal("app"))
	g.Expect(e.Metadata).To(HaveKeyWithValue("g/revision", "main@sha1:abc"))
	g.Expect(string(e.Raw)).To(Equal(payload))

	s.SetFaults(fault.Plan{Nth: 1, Status: 503, RetryAfter: 2 * time.Second})
	other := strings.Replace(payload, "applied", "third", 1)
	g.Expect(post(t, s, other, "")).To(Equal(503))
	g.Expect(s.Events()).To(HaveLen(2), "a refused event is not recorded")
	g.Expect(post(t, s, other, "")).To(Equal(202))
}

// TST-23
func TestWait(t *testing.T) {
	g := NewWithT(t)
	s := eventserver.Start(t, eventserver.Options{Token: "canary-token"})
	g.Expect(post(t, s, payload, "")).To(Equal(401))
	done := make(chan string)
	go func() {
		e, err := s.Wait(t.Context(), func(e eventserver.Event) bool { return e.Reason == "ReconciliationSucceeded" })
		if err != nil {
			done <- err.Error()
			return
		}
		done <- e.Message
	}()
	g.Expect(post(t, s, payload, "canary-token")).To(Equal(202))
	g.Expect(<-done).To(Equal("applied"))
	g.Expect(s.Events()[0].Header.Get("Authorization")).To(Equal(s.Recorder().HMAC("Bearer canary-token")))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Wait(ctx, func(eventserver.Event) bool { return false })
	g.Expect(err).To(MatchError(context.Canceled))
}

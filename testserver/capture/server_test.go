// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package capture_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"

	"github.com/gitops-kit/sdk/testserver/capture"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func post(t *testing.T, s *capture.Server, path, body string) int {
	t.Helper()
	c := s.Client()
	defer c.CloseIdleConnections()
	resp, err := c.Post(s.URL()+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// TST-23
func TestCaptures(t *testing.T) {
	g := NewWithT(t)
	s := capture.Start(t, capture.Options{TLS: true, Replies: []capture.Reply{
		{Match: capture.Match{Path: "/repos/*/statuses/*"}, Status: 201, Times: 1},
		{Match: capture.Match{Path: "/repos/*"}, Func: func(w http.ResponseWriter, c capture.Call) { w.WriteHeader(len(c.Body) + 400) }},
	}})
	g.Expect(post(t, s, "/repos/a/b/statuses/abc?x=1", `{"state":"success"}`)).To(Equal(201))
	g.Expect(post(t, s, "/repos/a/b/statuses/abc", `{}`)).To(Equal(402))
	g.Expect(post(t, s, "/hook", `not json`)).To(Equal(200))
	calls := s.Calls()
	g.Expect(calls).To(HaveLen(3))
	g.Expect(calls[0].JSON).To(Equal(map[string]any{"state": "success"}))
	g.Expect(calls[0].Query.Get("x")).To(Equal("1"))
	g.Expect(calls[2].JSON).To(BeNil())
	g.Expect(string(calls[2].Body)).To(Equal("not json"))
	c, err := s.Wait(t.Context(), func(c capture.Call) bool { return c.Path == "/hook" })
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.Header.Get("Content-Type")).To(Equal("application/json"))
	s.Reset()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.Wait(ctx, func(capture.Call) bool { return true })
	g.Expect(err).To(MatchError(context.Canceled))
}

func ExampleRun() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	chat, err := capture.Run(ctx, capture.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer chat.Stop()
	c := chat.Client()
	defer c.CloseIdleConnections()
	resp, err := c.Post(chat.URL()+"/hook", "application/json", strings.NewReader(`{"text":"deployed"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = resp.Body.Close()
	fmt.Println(chat.Calls()[0].Path, chat.Calls()[0].JSON)
	// Output: /hook map[text:deployed]
}

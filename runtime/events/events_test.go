// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package events_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/events"
	"github.com/gitops-kit/sdk/runtime/internal/testapi"
	. "github.com/onsi/gomega"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ record.EventRecorder = events.ClientGo{} // RT-68

func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	NewWithT(t).Expect(testapi.AddToScheme(s)).To(Succeed())
	return s
}

func object(name string) *testapi.App {
	return &testapi.App{ObjectMeta: metav1.ObjectMeta{
		Namespace: "ns", Name: name, UID: types.UID("uid-" + name), ResourceVersion: "7",
		Annotations: map[string]string{"event.toolkit.fluxcd.io/team": "a", "event.toolkit.fluxcd.io/x": "y", "other": "z"},
	}}
}

// memory keeps what it gets.
type memory struct {
	mu   sync.Mutex
	got  []events.Record
	hold chan struct{} // when set, Send waits for it
}

func (m *memory) Name() string { return "memory" }
func (m *memory) Send(ctx context.Context, r *events.Record) error {
	if m.hold != nil {
		select {
		case <-m.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got = append(m.got, *r)
	return nil
}

func (m *memory) texts() (out []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.got {
		out = append(out, r.Payload.Message)
	}
	return out
}

// counts is an Observe function.
type counts struct {
	mu sync.Mutex
	m  map[string]int
}

func (c *counts) add(sink, result string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = map[string]int{}
	}
	c.m[sink+":"+result]++
}

func (c *counts) get(k string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.m[k]
}

// started runs a recorder until stop, which drains it.
func started(t *testing.T, o events.Options) (*events.Recorder, func()) {
	t.Helper()
	o.Scheme = scheme(t)
	if o.Controller == "" {
		o.Controller = "test-controller"
	}
	r := events.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = r.Start(ctx) }()
	stop := sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return r, stop
}

// RT-60, RT-66, WIRE-25, WIRE-27
func TestPayload(t *testing.T) {
	g := NewWithT(t)
	m := &memory{}
	r, stop := started(t, events.Options{Sinks: []events.Sink{m}, Instance: "pod-1"})
	r.Emit(events.Event{
		Object: object("a"), Type: events.Warning, Reason: "BuildFailed", Message: "line 1\nline\x1b[31m 2\u202e",
		Metadata: map[string]string{"revision": "main@sha1:a", "event.toolkit.fluxcd.io/team": "ours"},
	})
	stop()
	g.Expect(m.got).To(HaveLen(1))
	p := m.got[0].Payload
	g.Expect(p.InvolvedObject).To(Equal(meta.ObjectReference{Kind: "App", APIVersion: "test.gitops-kit.github.io/v1", Namespace: "ns", Name: "a", UID: "uid-a", ResourceVersion: "7"}))
	g.Expect(p.Severity).To(Equal("error"))
	g.Expect(p.Message).To(Equal("line 1\nline\\u001b[31m 2\\u202e"))
	g.Expect(p.Metadata).To(Equal(map[string]string{"test.gitops-kit.github.io/revision": "main@sha1:a", "event.toolkit.fluxcd.io/team": "ours", "event.toolkit.fluxcd.io/x": "y"}))
	g.Expect(p.ReportingController + " " + p.ReportingInstance).To(Equal("test-controller pod-1"))
}

// RT-60: what cannot be an event is counted.
func TestNeverPanics(t *testing.T) {
	g := NewWithT(t)
	c, m := &counts{}, &memory{}
	r, stop := started(t, events.Options{Sinks: []events.Sink{m}, Observe: c.add})
	r.Emit(events.Event{})
	r.Emit(events.Event{Object: (*testapi.App)(nil)})
	r.Emit(events.Event{Object: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kind unknown"}}})
	r.Emit(events.Event{Object: object(""), Message: "no name"})
	r.Emit(events.Event{Object: object("a"), Type: "Strange"})
	r.ClientGo().Eventf(nil, "Normal", "R", "x")
	(*events.Recorder)(nil).Emit(events.Event{Object: object("a")})
	(*events.Recorder)(nil).For("x").Emitf(object("a"), events.Normal, "R", "x")
	stop()
	g.Expect(c.get(":invalid")).To(Equal(5))
	g.Expect(m.got).To(HaveLen(1), "an unknown type is Normal")
	g.Expect(m.got[0].Type).To(Equal(events.Normal))
	g.Expect(m.got[0].Payload.Reason + " " + m.got[0].Payload.Message).To(Equal("Unknown Unknown"))
}

// RT-64, WIRE-28
func TestDedup(t *testing.T) {
	g := NewWithT(t)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, repeat := range []bool{false, true} {
		m := &memory{}
		r, stop := started(t, events.Options{Sinks: []events.Sink{m}, Now: func() time.Time { return now }, Repeat: repeat})
		emit := func(typ events.Type, message string, md ...string) {
			e := events.Event{Object: object("a"), Type: typ, Reason: "R", Message: message}
			if len(md) > 0 {
				e.Metadata = map[string]string{"token": md[0]}
			}
			r.Emit(e)
		}
		emit(events.Normal, "ok")
		emit(events.Normal, "ok")
		emit(events.Warning, "bad 1")
		emit(events.Warning, "bad 1")
		emit(events.Warning, "bad 2")
		emit(events.Normal, "ok") // recovered
		emit(events.Normal, "ok")
		now = now.Add(time.Hour)
		emit(events.Warning, "bad 2") // an hour later
		emit(events.Normal, "ok", "t1")
		emit(events.Normal, "ok", "t1")
		emit(events.Normal, "ok", "t2")
		stop()
		want := []string{"ok", "bad 1", "bad 2", "ok", "bad 2", "ok", "ok"}
		if repeat {
			want = []string{"ok", "ok", "bad 1", "bad 1", "bad 2", "ok", "ok", "bad 2", "ok", "ok", "ok"}
		}
		g.Expect(m.texts()).To(Equal(want))
	}
}

// RT-61: one object's events keep their order; overflow drops what matters least.
func TestOrderAndOverflow(t *testing.T) {
	g := NewWithT(t)
	c, m := &counts{}, &memory{}
	r := events.New(events.Options{Scheme: scheme(t), Sinks: []events.Sink{m}, Observe: c.add, Queue: 100, Controller: "c"})
	for i := range 50 {
		r.Emitf(object("warn"), events.Warning, "W", "w%03d", i)
	}
	for i := range 100 {
		r.Emitf(object(fmt.Sprint("info", i%7)), events.Normal, fmt.Sprint("N", i), "i%03d", i)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = r.Start(ctx) }()
	g.Eventually(func() int { return len(m.texts()) }).Should(Equal(100))
	cancel()
	<-done
	g.Expect(c.get("memory:dropped")).To(Equal(50))
	var warns []string
	perObject := map[string][]string{}
	for _, rec := range m.got {
		perObject[rec.Key] = append(perObject[rec.Key], rec.Payload.Message)
		if rec.Type == events.Warning {
			warns = append(warns, rec.Payload.Message)
		} else {
			g.Expect(rec.Payload.Message >= "i050").To(BeTrue(), "the oldest info went")
		}
	}
	g.Expect(warns).To(HaveLen(50), "no warning was dropped")
	for k, list := range perObject {
		g.Expect(strings.Compare(list[0], list[len(list)-1])).To(BeNumerically("<=", 0), k)
		for i := range list[1:] {
			g.Expect(list[i] < list[i+1]).To(BeTrue(), "order of %s: %v", k, list)
		}
	}
}

// RT-61, WIRE-26: a dead sink delays neither the caller nor the other sink, in
// bounded memory; what is left is counted as lost.
func TestDeadSink(t *testing.T) {
	g := NewWithT(t)
	c := &counts{}
	dead, live := &memory{hold: make(chan struct{})}, &memory{}
	named := namedSink{dead, "dead"}
	r, stop := started(t, events.Options{Sinks: []events.Sink{named, live}, Observe: c.add, Queue: 1000})
	for i := range 10_000 {
		r.Emitf(object(fmt.Sprint(i%20)), events.Normal, fmt.Sprint(i), "m")
		if i%500 == 0 {
			g.Eventually(func() int { return len(live.texts()) }, "10s").Should(Equal(i + 1))
		}
	}
	g.Eventually(func() int { return len(live.texts()) }, "10s").Should(Equal(10_000))
	g.Expect(c.get("dead:dropped")).To(BeNumerically(">=", 10_000-1000-4))
	close(dead.hold)
	stop()
	g.Expect(len(dead.texts()) + c.get("dead:dropped")).To(Equal(10_000))
}

type namedSink struct {
	*memory
	name string
}

func (n namedSink) Name() string { return n.name }

// fast are options without long pauses.
var fast = events.HTTPOptions{MinWait: time.Millisecond, MaxWait: 2 * time.Millisecond, Timeout: 2 * time.Second}

func record1() *events.Record {
	return &events.Record{Type: events.Normal, Key: "k", Payload: meta.Event{
		InvolvedObject: meta.ObjectReference{Kind: "App", Name: "a"},
		Severity:       "info", Timestamp: metav1.Now(), Message: "m", Reason: "R", ReportingController: "c",
	}}
}

// RT-62, WIRE-25
func TestHTTPAnswers(t *testing.T) {
	cases := map[string]struct {
		reason  string
		answers []int
		tries   int
		status  int
	}{
		"Accepted":    {reason: "2xx is delivered", answers: []int{202}, tries: 1},
		"Duplicate":   {reason: "429 is known, not retried", answers: []int{429}, tries: 1},
		"Refused":     {reason: "4xx is final", answers: []int{400}, tries: 1, status: 400},
		"Redirect":    {reason: "redirects are not followed", answers: []int{302}, tries: 1, status: 302},
		"Recovers":    {reason: "5xx is retried", answers: []int{503, 500, 200}, tries: 3},
		"StaysBroken": {reason: "four retries", answers: []int{500}, tries: 5, status: 500},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var n atomic.Int32
			var ct, body atomic.Value
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				i := int(n.Add(1)) - 1
				data, _ := io.ReadAll(r.Body)
				ct.Store(r.Method + " " + r.Header.Get("Content-Type"))
				body.Store(string(data))
				w.Header().Set("Location", "http://127.0.0.1:1/")
				w.WriteHeader(tc.answers[min(i, len(tc.answers)-1)])
			}))
			defer srv.Close()
			h, err := events.NewHTTP(srv.URL, fast)
			g.Expect(err).NotTo(HaveOccurred())
			defer h.Close()
			err = h.Send(t.Context(), record1())
			g.Expect(int(n.Load())).To(Equal(tc.tries), tc.reason)
			if tc.status == 0 {
				g.Expect(err).NotTo(HaveOccurred(), tc.reason)
			} else {
				var se *events.SinkError
				g.Expect(errors.As(err, &se)).To(BeTrue(), tc.reason)
				g.Expect(se.Status).To(Equal(tc.status))
			}
			g.Expect(ct.Load()).To(Equal("POST application/json"))
			var p meta.Event
			g.Expect(json.Unmarshal([]byte(body.Load().(string)), &p)).To(Succeed())
			g.Expect(p.Message).To(Equal("m"))
		})
	}
}

// RT-62: a sink that stalls, closes, or never stops answering holds a sender for
// the attempt only; ten events use four connections at most.
func TestHTTPHostile(t *testing.T) {
	g := NewWithT(t)
	var conns atomic.Int32
	mode := atomic.Value{}
	mode.Store("")
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // so that the server notices a closed connection
		switch mode.Load() {
		case "stall":
			<-r.Context().Done()
		case "endless":
			for r.Context().Err() == nil {
				if _, err := w.Write(bytes.Repeat([]byte("x"), 1<<16)); err != nil {
					return
				}
			}
		case "close":
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_ = c.Close()
			}
		}
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	short := fast
	short.Timeout = 50 * time.Millisecond
	for _, m := range []string{"stall", "close"} {
		mode.Store(m)
		h, err := events.NewHTTP(srv.URL, short)
		g.Expect(err).NotTo(HaveOccurred())
		err = h.Send(t.Context(), record1())
		g.Expect(err).To(HaveOccurred(), m)
		g.Expect(err.Error()).NotTo(ContainSubstring(srv.URL), "the URL may hold a token")
		h.Close()
	}
	mode.Store("endless")
	h, err := events.NewHTTP(srv.URL, short)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(h.Send(t.Context(), record1())).To(Succeed(), "the status counts, the body is bounded")
	h.Close()
	mode.Store("")
	conns.Store(0)
	h, err = events.NewHTTP(srv.URL, fast)
	g.Expect(err).NotTo(HaveOccurred())
	defer h.Close()
	r, stop := started(t, events.Options{Sinks: []events.Sink{h}})
	for i := range 10 {
		r.Emitf(object(fmt.Sprint(i)), events.Normal, "R", "m")
	}
	stop()
	g.Expect(conns.Load()).To(BeNumerically("<=", 4))
	_, err = events.NewHTTP("ftp://x", fast)
	g.Expect(errors.Is(err, events.ErrAddress)).To(BeTrue())
}

// RT-63: the token is read from its file and goes to the sink only.
func TestHTTPToken(t *testing.T) {
	g := NewWithT(t)
	var auth atomic.Value
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { auth.Store(r.Header.Get("Authorization")) }))
	defer srv.Close()
	o := fast
	o.TokenFile = filepath.Join(t.TempDir(), "token")
	send := func() any {
		h, err := events.NewHTTP(srv.URL, o)
		g.Expect(err).NotTo(HaveOccurred())
		defer h.Close()
		g.Expect(h.Send(t.Context(), record1())).To(Succeed())
		return auth.Load()
	}
	g.Expect(send()).To(Equal(""), "no file, no header")
	g.Expect(os.WriteFile(o.TokenFile, []byte("canary-1\n"), 0o600)).To(Succeed())
	g.Expect(send()).To(Equal("Bearer canary-1"))
	g.Expect(os.WriteFile(o.TokenFile, []byte("a\nb"), 0o600)).To(Succeed())
	g.Expect(send()).To(Equal(""), "two lines are no token")
}

// api is an in-memory event API.
type api struct {
	mu      sync.Mutex
	created []*corev1.Event
	patches []string
}

func (a *api) Create(_ context.Context, e *corev1.Event) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.created = append(a.created, e)
	return nil
}

func (a *api) Patch(_ context.Context, ns, name string, patch []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.patches = append(a.patches, ns+"/"+name+" "+string(patch))
	return nil
}

// RT-65, WIRE-24
func TestKubernetes(t *testing.T) {
	g := NewWithT(t)
	a := &api{}
	k := events.NewKubernetes(a)
	r := record1()
	r.Type, r.Payload.Severity = events.Warning, "error"
	r.Payload.InvolvedObject = meta.ObjectReference{Kind: "App", APIVersion: "g/v1", Name: "a", Namespace: "ns", UID: "u", ResourceVersion: "3"}
	r.Payload.Message, r.Payload.Metadata = strings.Repeat("ü", 1000), map[string]string{"g/revision": "x"}
	g.Expect(k.Send(t.Context(), r)).To(Succeed())
	e := a.created[0]
	g.Expect(e.Name).To(MatchRegexp(`^a\.[0-9a-f]{16}$`))
	g.Expect(e.Namespace).To(Equal("ns"))
	g.Expect(len(e.Message)).To(BeNumerically("<=", 1024))
	g.Expect(e.Type + e.Source.Component + e.ReportingController).To(Equal("Warningcc"))
	g.Expect(e.InvolvedObject).To(Equal(corev1.ObjectReference{Kind: "App", APIVersion: "g/v1", Name: "a", Namespace: "ns", UID: "u", ResourceVersion: "3"}))
	g.Expect(e.Annotations).To(Equal(map[string]string{"g/revision": "x"}))
	g.Expect(k.Send(t.Context(), r)).To(Succeed())
	g.Expect(a.created).To(HaveLen(1))
	g.Expect(a.patches).To(HaveLen(1))
	g.Expect(a.patches[0]).To(And(HavePrefix("ns/"+e.Name+" "), ContainSubstring(`"count":2`)))
	c := record1()
	c.Type = events.Trace
	g.Expect(k.Send(t.Context(), c)).To(Succeed())
	g.Expect(a.created[1].Namespace).To(Equal("default"), "RT-60: cluster-scoped")
	g.Expect(a.created[1].Type).To(Equal("Normal"))
	var rate *events.RateError
	dropped := 0
	for i := range 200 {
		x := record1()
		x.Payload.Reason = fmt.Sprint("R", i)
		if err := k.Send(t.Context(), x); errors.As(err, &rate) {
			dropped++
		}
	}
	g.Expect(dropped).To(BeNumerically(">", 50), "more than 50 per second are dropped")
}

func BenchmarkEmit(b *testing.B) {
	s := runtime.NewScheme()
	_ = testapi.AddToScheme(s)
	r := events.New(events.Options{Scheme: s, Sinks: []events.Sink{&memory{}}, Controller: "c"})
	o := object("a")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.Emit(events.Event{Object: o, Type: events.Normal, Reason: "R", Message: "m"})
	}
}

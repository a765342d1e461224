// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package logger_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/gitops-kit/sdk/runtime/logger"
	"github.com/gitops-kit/sdk/runtime/secrets"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func line(g *WithT, b *bytes.Buffer) map[string]any {
	defer b.Reset()
	g.Expect(b.String()).To(HaveSuffix("}\n"))
	g.Expect(strings.Count(b.String(), "\n")).To(Equal(1))
	g.Expect(b.Len()).To(BeNumerically("<=", logger.MaxLine))
	var m map[string]any
	g.Expect(json.Unmarshal(b.Bytes(), &m)).To(Succeed(), b.String())
	return m
}

// RT-122, WIRE-30
func TestLevels(t *testing.T) {
	for level, want := range map[string][]string{"trace": {"error", "info", "debug", "trace"}, "debug": {"error", "info", "debug"}, "info": {"error", "info"}, "error": {"error"}} {
		g := NewWithT(t)
		var b bytes.Buffer
		l := logger.New(logger.Options{Level: level, Out: &b})
		l.Error(errors.New("e"), "m")
		l.Info("m")
		l.V(1).Info("m")
		l.V(2).Info("m")
		var got []string
		for s := range strings.Lines(b.String()) {
			var m map[string]any
			g.Expect(json.Unmarshal([]byte(s), &m)).To(Succeed())
			got = append(got, m["level"].(string))
		}
		g.Expect(got).To(Equal(want), level)
	}
}

// N46, R12, RT-122: one line, escaped, masked.
func TestHostileValues(t *testing.T) {
	g := NewWithT(t)
	var b bytes.Buffer
	l := logger.New(logger.Options{Out: &b}).WithName("a").WithName("b").WithValues("namespace", "ns")
	l.Error(errors.New("a\nb\x1b[31m\u202e"), "m\r\n{\"level\":\"x\"}", "level", "fake", "namespace", "later", "odd")
	m := line(g, &b)
	g.Expect(m).To(And(HaveKeyWithValue("level", "error"), HaveKeyWithValue("logger", "a.b"), HaveKeyWithValue("namespace", "later"),
		HaveKeyWithValue("level_", "fake"), HaveKeyWithValue("odd", "(missing)"), HaveKeyWithValue("error", `a`+"\n"+`b\u001b[31m\u202e`)))
	u, _ := url.Parse("https://user:canary@example.com/x?token=canary")
	l.Info("m", "url", u, "header", http.Header{"Authorization": {"canary"}}, "secret", secrets.NewSecret("canary"),
		"obj", &corev1.Secret{Data: map[string][]byte{"k": []byte("canary")}, StringData: map[string]string{"x": "canary"}},
		"u", &unstructured.Unstructured{Object: map[string]any{"kind": "Secret", "data": "canary"}}, "struct", struct{ S secrets.Secret }{secrets.NewSecret("canary")})
	g.Expect(b.String()).NotTo(ContainSubstring("canary"))
	line(g, &b)
	l.Info("m", "bad", func() {}, "nil", (*url.URL)(nil), "panics", panics{}, "err", error((*nilError)(nil)))
	g.Expect(line(g, &b)).To(HaveKeyWithValue("bad", "(func())"))
	l.Info(strings.Repeat("ü", 20000), "k", strings.Repeat("x", 30000))
	m = line(g, &b)
	g.Expect(m).To(HaveKeyWithValue("truncated", true))
	many := []any{}
	for i := range 5000 {
		many = append(many, fmt.Sprint("key", i), strings.Repeat("v", 100))
	}
	l.Info("m", many...)
	g.Expect(line(g, &b)).To(HaveKeyWithValue("truncated", true))
}

type panics struct{}

func (panics) MarshalJSON() ([]byte, error) { panic("no") }

type nilError struct{ s string }

func (e *nilError) Error() string { return e.s }

func TestConsole(t *testing.T) {
	g := NewWithT(t)
	var b bytes.Buffer
	l := logger.New(logger.Options{Out: &b, Encoding: "console"})
	l.Error(errors.New("bad\nthing"), "line one\nline two", "k", "v")
	g.Expect(strings.Count(b.String(), "\n")).To(Equal(1))
	g.Expect(b.String()).To(And(ContainSubstring("\tERROR\tline one\\nline two"), ContainSubstring("k=\"v\"")))
	f := logger.Flags{Level: "info", Encoding: "xml"}
	g.Expect(errors.Is(f.Validate(), logger.ErrEncoding)).To(BeTrue())
	f = logger.Flags{Level: "x"}
	g.Expect(errors.Is(f.Validate(), logger.ErrLevel)).To(BeTrue())
}

func TestLoggerConcurrentSafe(t *testing.T) {
	g := NewWithT(t)
	var b bytes.Buffer
	l := logger.New(logger.Options{Out: &b})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 100 {
				l.WithValues("i", i).Info("m")
			}
		})
	}
	wg.Wait()
	g.Expect(strings.Count(b.String(), "\n")).To(Equal(800))
}

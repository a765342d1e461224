// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package redact_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gitops-kit/sdk/tools/shared/redact"
)

const canary = "hunter2-canary"

func TestSecretIsNeverPrinted(t *testing.T) {
	type holder struct {
		Name  string
		Token redact.Secret
		Ptr   *redact.Secret
		Any   any
	}
	s := redact.NewSecret(canary)
	h := holder{"n", s, &s, s}
	var b strings.Builder
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "s", s, "h", h)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "s", s, "h", h)
	j, err := json.Marshal(map[string]any{"h": h, "s": s})
	if err != nil {
		t.Fatal(err)
	}
	b.Write(j)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p"} {
		fmt.Fprintf(&b, verb, s)
		fmt.Fprintf(&b, verb, h)
		fmt.Fprintf(&b, verb, &h)
	}
	for _, leak := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary)} {
		if strings.Contains(b.String(), leak) {
			t.Errorf("printed: %s", leak)
		}
	}
	if s.Reveal() != canary || s.IsZero() || !(redact.Secret{}).IsZero() || redact.NewSecret("") != (redact.Secret{}) {
		t.Error("the value is not kept")
	}
}

func TestURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://u:p@host/path?sig=1#f": "https://host/path",
		"ssh://git@host:22/a.git":       "ssh://host:22/a.git",
		"https://host":                  "https://host",
		"mailto:secret@x":               "mailto:***",
		"http://a b/%zz":                "invalid-url",
		"://":                           "invalid-url",
	} {
		if got := redact.URL(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "plain", "a\nb\tc", "\x1b[31mred", "bidi \u202e x", "\xff\xfe", strings.Repeat("é", 3000)} {
		f.Add(s, 64)
	}
	f.Fuzz(func(t *testing.T, s string, max int) {
		max = max%4096 + 8
		got := redact.Text(s, max)
		limit := max
		if max <= 0 {
			limit = 1024
		}
		if len(got) > limit || !utf8.ValidString(got) || strings.ContainsAny(got, "\n\r\x1b\u202e") {
			t.Errorf("%q (%d): %q", s, max, got)
		}
	})
}

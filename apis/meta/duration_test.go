// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package meta_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	. "github.com/onsi/gomega"
)

type holder struct {
	D meta.Duration  `json:"d"`
	P *meta.Duration `json:"p,omitempty"`
	X string         `json:"x,omitempty"`
}

// DUR-2, DUR-4
func TestDurationDecodesAnything(t *testing.T) {
	cases := map[string]struct {
		reason string
		in     string
		want   time.Duration
		bad    bool
		raw    string
		out    string
	}{
		"Plain":       {reason: "an ordinary duration", in: `"5m"`, want: 5 * time.Minute, raw: "5m0s", out: `"5m0s"`},
		"Fraction":    {reason: "fractions are allowed", in: `"1.5h"`, want: 90 * time.Minute, raw: "1h30m0s", out: `"1h30m0s"`},
		"Negative":    {reason: "a duration, though out of bounds", in: `"-1s"`, want: -time.Second, raw: "-1s", out: `"-1s"`},
		"Zero":        {reason: "zero is a duration", in: `"0s"`, want: 0, raw: "0s", out: `"0s"`},
		"NoUnit":      {reason: "kept as it is", in: `"1h30"`, bad: true, raw: "1h30", out: `"1h30"`},
		"Overflow":    {reason: "too large for a duration", in: `"999999999999h"`, bad: true, raw: "999999999999h", out: `"999999999999h"`},
		"Empty":       {reason: "an empty string is no duration", in: `""`, bad: true, raw: "", out: `""`},
		"Number":      {reason: "not a string", in: `60`, bad: true, raw: "60", out: `60`},
		"Object":      {reason: "not a string", in: `{"a":[1,2]}`, bad: true, raw: `{"a":[1,2]}`, out: `{"a":[1,2]}`},
		"Bool":        {reason: "not a string", in: `true`, bad: true, raw: "true", out: `true`},
		"Null":        {reason: "null is absent", in: `null`, raw: "0s", out: `"0s"`},
		"EscapedText": {reason: "byte for byte", in: `"\u0031x"`, bad: true, raw: "1x", out: `"\u0031x"`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var h holder
			g.Expect(json.Unmarshal([]byte(`{"d":`+tc.in+`,"x":"kept"}`), &h)).To(Succeed(), tc.reason)
			g.Expect(h.D.Duration).To(Equal(tc.want), tc.reason)
			g.Expect(h.D.Raw()).To(Equal(tc.raw), tc.reason)
			var de *meta.DurationError
			g.Expect(errors.As(h.D.Err(), &de)).To(Equal(tc.bad), tc.reason)
			if tc.bad {
				g.Expect(de.Reason()).To(Equal(meta.InvalidSpecReason))
				g.Expect(de.Terminal()).To(BeTrue())
			}
			h.X = "changed" // the raw text survives an update of another field
			out, err := json.Marshal(h)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(string(out)).To(Equal(`{"d":`+tc.out+`,"x":"changed"}`), tc.reason)
			g.Expect(*h.D.DeepCopy()).To(Equal(h.D))
		})
	}
}

// DUR-3: bounds and their text.
func TestDurationBounds(t *testing.T) {
	d := func(s string) *meta.Duration {
		var v meta.Duration
		_ = json.Unmarshal([]byte(s), &v)
		return &v
	}
	cases := map[string]struct {
		reason string
		b      meta.DurationBounds
		d      *meta.Duration
		want   string
	}{
		"Absent":  {reason: "nothing to check", d: nil},
		"Inside":  {reason: "in the default bounds", d: d(`"1s"`)},
		"Longest": {reason: "bounds are closed", d: d(`"8760h"`)},
		"Short":   {reason: "below one second", d: d(`"999ms"`), want: `spec.interval: "999ms" must be between 1s and 8760h`},
		"Zero":    {reason: "zero is too short", d: d(`"0s"`), want: `spec.interval: "0s" must be between 1s and 8760h`},
		"Long":    {reason: "above a year", d: d(`"8761h"`), want: `spec.interval: "8761h0m0s" must be between 1s and 8760h`},
		"Own":     {reason: "bounds of the field win", b: meta.DurationBounds{Min: time.Minute, Max: time.Hour}, d: d(`"30s"`), want: `spec.interval: "30s" must be between 1m0s and 1h`},
		"NoText":  {reason: "not a duration", d: d(`"soon"`), want: `spec.interval: "soon" is not a duration`},
		"Number":  {reason: "not even a string", d: d(`7`), want: `spec.interval: "7" is not a duration`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			err := tc.b.Check("spec.interval", tc.d)
			if tc.want == "" {
				g.Expect(err).NotTo(HaveOccurred(), tc.reason)
				return
			}
			var de *meta.DurationError
			g.Expect(errors.As(err, &de)).To(BeTrue(), tc.reason)
			g.Expect(err.Error()).To(Equal(tc.want), tc.reason)
			g.Expect(de.Field).To(Equal("spec.interval"))
		})
	}
}

func FuzzDurationJSON(f *testing.F) {
	for _, s := range []string{`"5m"`, `"999999999999h"`, `60`, `null`, `{"a":1}`, `[]`, `"-1s"`, `"1h30"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !json.Valid(data) {
			t.Skip()
		}
		g := NewWithT(t)
		var d, again meta.Duration
		g.Expect(json.Unmarshal(data, &d)).To(Succeed())
		out, err := json.Marshal(d)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(json.Unmarshal(out, &again)).To(Succeed())
		g.Expect(again.Duration).To(Equal(d.Duration))
		g.Expect(again.Err() == nil).To(Equal(d.Err() == nil))
	})
}

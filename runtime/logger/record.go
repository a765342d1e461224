// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package logger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/runtime/internal/redact"
	"github.com/gitops-kit/sdk/runtime/internal/text"
	"github.com/go-logr/logr"
)

const (
	timeFormat = "2006-01-02T15:04:05.000Z07:00"
	maxValue   = 8 << 10
	cutValue   = 512
)

// record is one line before it is encoded.
type record struct {
	level, name, msg string
	ts               time.Time
	err              error
	keys             []string
	values           []any
}

// reserved keys are written by the record itself.
func reserved(k string) bool {
	switch k {
	case "level", "ts", "msg", "logger", "truncated":
		return true
	}
	return false
}

// add takes key and value pairs; a later value of a key replaces an earlier one.
func (r *record) add(kv []any) {
	for i := 0; i < len(kv); i += 2 {
		k, ok := kv[i].(string)
		if !ok {
			k = fmt.Sprint(kv[i])
		}
		var v any = "(missing)"
		if i+1 < len(kv) {
			v = kv[i+1]
		}
		if reserved(k) {
			k += "_"
		}
		r.put(text.Cut(text.Escape(k, cutValue), cutValue, ""), v)
	}
}

func (r *record) put(k string, v any) {
	for i, have := range r.keys {
		if have == k {
			r.values[i] = v
			return
		}
	}
	r.keys, r.values = append(r.keys, k), append(r.values, v)
}

// json encodes the record as one line of at most MaxLine bytes.
func (r *record) json() []byte {
	for _, limit := range []int{maxValue, cutValue, 64, 0} {
		if b := r.encode(limit); len(b) <= MaxLine {
			return b
		}
	}
	short := record{level: r.level, name: text.Cut(r.name, cutValue, "…"), ts: r.ts, msg: text.Cut(r.msg, cutValue, "…")}
	b := short.encode(cutValue)
	return append(b[:len(b)-2], []byte(",\"truncated\":true}\n")...)
}

// encode writes the record with values of at most limit bytes; 0 drops them.
func (r *record) encode(limit int) []byte {
	var b bytes.Buffer
	field := func(k string, v []byte) {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.Write(quote(k))
		b.WriteByte(':')
		b.Write(v)
	}
	b.WriteByte('{')
	field("level", quote(r.level))
	field("ts", quote(r.ts.Format(timeFormat)))
	if r.name != "" {
		field("logger", quote(r.name))
	}
	msgMax := max(limit, cutValue)
	cut := len(r.msg) > msgMax
	field("msg", quote(clean(r.msg, msgMax)))
	if r.err != nil {
		s := r.err.Error()
		cut = cut || len(s) > msgMax
		field("error", quote(clean(s, msgMax)))
	}
	for i, k := range r.keys {
		if k == "error" && r.err != nil {
			continue
		}
		v := encodeValue(r.values[i])
		if len(v) > limit {
			cut = true
			if limit == 0 {
				continue
			}
			v = quote(clean(string(v), limit))
		}
		field(k, v)
	}
	if cut {
		field("truncated", []byte("true"))
	}
	b.WriteString("}\n")
	return b.Bytes()
}

// console encodes the record for people.
func (r *record) console() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\t%s\t", r.ts.Format(timeFormat), strings.ToUpper(r.level))
	if r.name != "" {
		b.WriteString(r.name + "\t")
	}
	b.WriteString(oneLine(clean(r.msg, maxValue)))
	if r.err != nil {
		b.WriteString("\terror=" + string(quote(clean(r.err.Error(), maxValue))))
	}
	for i, k := range r.keys {
		v := encodeValue(r.values[i])
		if len(v) > cutValue {
			v = quote(clean(string(v), cutValue))
		}
		b.WriteString("\t" + k + "=")
		b.Write(v)
		if b.Len() > MaxLine-1024 {
			b.WriteString("\ttruncated=true")
			break
		}
	}
	line := text.Cut(b.String(), MaxLine-1, "…")
	return append([]byte(line), '\n')
}

// encodeValue returns the JSON of a value, masked where it may hold a secret.
func encodeValue(v any) []byte {
	switch x := v.(type) {
	case nil:
		return []byte("null")
	case string:
		return quote(clean(x, maxValue+1))
	case error:
		return quote(clean(safeText(x.Error), maxValue+1))
	case *url.URL:
		if x == nil {
			return []byte("null")
		}
		return quote(redact.URL(x.String()))
	case url.URL:
		return quote(redact.URL(x.String()))
	case http.Header, *http.Header:
		return quote(redact.Mask)
	case time.Duration:
		return quote(x.String())
	case logr.Marshaler:
		return marshal(x.MarshalLog())
	case fmt.Stringer:
		if !isStruct(v) {
			return quote(clean(safeText(x.String), maxValue+1))
		}
	}
	if masked(v) {
		return quote(redact.Mask)
	}
	return marshal(v)
}

// marshal never fails; text inside is escaped.
func marshal(v any) (out []byte) {
	defer func() {
		if recover() != nil { // a value whose methods panic
			out = quote(fmt.Sprintf("(%T)", v))
		}
	}()
	if masked(v) {
		return quote(redact.Mask)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return quote(fmt.Sprintf("(%T)", v))
	}
	if s := string(b); text.Escape(s, len(s)+1) != s {
		return quote(clean(s, maxValue+1))
	}
	return b
}

// masked reports a Secret of the Kubernetes API, by kind or by type name.
func masked(v any) bool {
	t := reflect.TypeOf(v)
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil {
		return false
	}
	if t.PkgPath() == "k8s.io/api/core/v1" && (t.Name() == "Secret" || t.Name() == "SecretList") {
		return true
	}
	k, ok := v.(interface{ GetKind() string })
	return ok && !isNilPointer(v) && k.GetKind() == "Secret"
}

func isNilPointer(v any) bool {
	r := reflect.ValueOf(v)
	return r.Kind() == reflect.Pointer && r.IsNil()
}

func isStruct(v any) bool {
	t := reflect.TypeOf(v)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() == reflect.Struct
}

func safeText(f func() string) (s string) {
	defer func() {
		if recover() != nil { // a nil pointer behind an interface
			s = "(panicked)"
		}
	}()
	return f()
}

func clean(s string, limit int) string { return text.Cut(text.Escape(s, limit+1), limit, "…") }

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", `\n`) }

// quote returns the JSON string of s without escaping HTML.
func quote(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return []byte(`""`)
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

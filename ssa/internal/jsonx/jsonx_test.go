// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package jsonx_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gitops-kit/sdk/ssa/internal/jsonx"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

func FuzzValue(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5,-0,1e3,"x\né",true,false,null,{}]}`, `12345678901234567890`, `9223372036854775807`, `"\ud800"`, `"\ud83d\ude00"`, `[`, `{"a":}`, `01`, `-`, `1.`, ` { } `, `"` + "\x01" + `"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var d jsonx.Decoder
		got, err := d.Value(s)
		if err != nil && !errors.Is(err, jsonx.ErrSyntax) {
			t.Fatalf("untyped error %v", err)
		}
		var want any
		theirErr := utiljson.Unmarshal([]byte(s), &want)
		if err == nil && theirErr != nil && json.Valid([]byte(s)) == false {
			t.Fatalf("accepted %q: %v", s, theirErr)
		}
		if err != nil || theirErr != nil || !utf8.ValidString(s) || strings.Contains(s, `\u`) {
			return
		}
		if _, ok := want.(map[string]any); !ok {
			return // numbers outside of objects become float64 there
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: got %#v, want %#v", s, got, want)
		}
	})
}

func TestObject(t *testing.T) {
	var d jsonx.Decoder
	m, managed, err := d.Object(`{"metadata":{"name":"a","managedFields":[{"manager":"m","operation":"Apply","apiVersion":"v1","time":"t","fieldsType":"FieldsV1","fieldsV1":{"f:a":{ }},"subresource":"status"}]},"managedFields":3}`)
	if err != nil {
		t.Fatal(err)
	}
	want := []jsonx.Managed{{Manager: "m", Operation: "Apply", APIVersion: "v1", Time: "t", Subresource: "status", Fields: `{"f:a":{ }}`}}
	if !reflect.DeepEqual(managed, want) {
		t.Fatalf("got %#v", managed)
	}
	if !reflect.DeepEqual(m, map[string]any{"metadata": map[string]any{"name": "a"}, "managedFields": int64(3)}) {
		t.Fatalf("got %#v", m)
	}
}

func TestList(t *testing.T) {
	var d, inner jsonx.Decoder
	var names []any
	page, err := d.List([]byte(`{"kind":"L","apiVersion":"v1","metadata":{"continue":"c","resourceVersion":"7"},"items":[{"n":"a"},{"n":"b\"]"}]}`), func(text string) error {
		v, err := inner.Value(text)
		if err == nil {
			names = append(names, v.(map[string]any)["n"])
		}
		return err
	})
	if err != nil || page.Continue != "c" || page.ResourceVersion != "7" || page.Kind != "L" {
		t.Fatalf("%v %+v", err, page)
	}
	if !reflect.DeepEqual(names, []any{"a", `b"]`}) {
		t.Fatalf("got %v", names)
	}
	if _, err := d.List([]byte(`{"items":[{"n":}]}`), func(string) error { return nil }); !errors.Is(err, jsonx.ErrSyntax) {
		t.Fatalf("got %v", err)
	}
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fieldset_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/ssa/internal/fieldset"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// toSet rebuilds the original library's set from a parsed one.
func toSet(t testing.TB, s *fieldset.Set) *fieldpath.Set {
	t.Helper()
	out := fieldpath.NewSet()
	var walk func(i int32, path fieldpath.Path)
	walk = func(i int32, path fieldpath.Path) {
		for c := s.First(i); c != 0; c = s.Next(c) {
			n := s.At(c)
			prefix := map[fieldset.Kind]string{fieldset.Field: "f:", fieldset.Key: "k:", fieldset.Value: "v:", fieldset.Index: "i:"}[n.Kind]
			pe, err := fieldpath.DeserializePathElement(prefix + n.Name)
			if err != nil {
				t.Fatalf("element %q: %v", prefix+n.Name, err)
			}
			p := append(path.Copy(), pe)
			if n.Member {
				out.Insert(p)
			}
			walk(c, p)
		}
	}
	if !s.Empty() {
		walk(fieldset.Root, nil)
	}
	return out
}

var seeds = []string{
	`{}`, `{"f:a":{}}`, `{"f:a":{".":{},"f:b":{}}}`, `{"f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{}}}}}`,
	`{"f:l":{"v:\"a\"":{},"v:1":{},"v:true":{},"v:1.5":{}}}`, `{"f:l":{"i:0":{"f:x":{}}}}`, `{"f:a/b~c":{}, "f:":{}}`,
	`{"f:ä\u00e4\n":{}}`, `{"f:a":{},"f:a":{}}`, `{"x:a":{}}`, `{"f:a":null}`, `{"f:a":[]}`, `{".":{}}`, `{"f:a":{".":{}}}`, `[]`, `{"f:a":{}} x`,
	`{"k:{\"a\":1,\"a\":2}":{}}`, `{"k:{}":{}}`, `{"v:{}":{}}`, `{"i:x":{}}`, `{"f:b":{},"f:a":{},"f:b":{}}`,
}

// SSA-37: what we read, the original reads to the same set; what it writes,
// we read.
func FuzzParse(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := fieldset.Parse(text)
		if err != nil {
			if !errors.Is(err, fieldset.ErrMalformed) {
				t.Fatalf("untyped error %v", err)
			}
		}
		var theirs fieldpath.Set
		theirErr := theirs.FromJSON(strings.NewReader(text))
		if err == nil {
			if theirErr != nil {
				t.Fatalf("accepted %q, the original says %v", text, theirErr)
			}
			if ours := toSet(t, &got); !ours.Equals(&theirs) {
				t.Fatalf("%q:\n ours %v\n theirs %v", text, ours, &theirs)
			}
		}
		if theirErr != nil {
			return
		}
		written, e := theirs.ToJSON()
		if e != nil || !json.Valid(written) || bytes.ContainsRune(written, '\uFFFD') {
			return
		}
		var again fieldpath.Set
		if again.FromJSON(bytes.NewReader(written)) != nil || !again.Equals(&theirs) {
			return // it does not even read itself
		}
		re, e := fieldset.Parse(string(written))
		if e != nil {
			if exotic(string(written)) {
				return
			}
			t.Fatalf("canonical %s refused: %v", written, e)
		}
		if ours := toSet(t, &re); !ours.Equals(&theirs) {
			t.Fatalf("canonical %s differs", written)
		}
		var m map[string]any
		if json.Unmarshal(written, &m) == nil {
			fm, e := fieldset.FromMap(m)
			if e != nil {
				t.Fatalf("decoded %s refused: %v", written, e)
			}
			if ours := toSet(t, &fm); !ours.Equals(&theirs) {
				t.Fatalf("decoded %s differs", written)
			}
		}
	})
}

// exotic: elements that no schema makes and that we leave to the server.
func exotic(s string) bool {
	for _, p := range []string{`"k:{}"`, `"v:{`, `"v:[`, `:{\"`, `[`, `"v:`} {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}

// SSA-37
func TestParseAllocations(t *testing.T) {
	text := `{"f:metadata":{"f:labels":{"f:app":{}}},"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:image":{},"f:name":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}}}}}}`
	n := testing.AllocsPerRun(100, func() {
		if _, err := fieldset.Parse(text); err != nil {
			t.Fatal(err)
		}
	})
	if n > 16 {
		t.Fatalf("%v allocations", n)
	}
}

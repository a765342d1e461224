// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package shared

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/untar/digest"
)

const (
	maxIndex = 64 << 10
	// maxGarbage is how much garbage may wait, so that it does not fill the
	// index of an object that changes all the time; what is more goes when it
	// has been there for leastGarbage.
	maxGarbage   = 200
	leastGarbage = 10 * time.Minute
	limitIndex   = "artifact-index"
)

// document is the index of one object.
type document struct {
	Last    uint64            `json:"last"` // the highest sequence number ever given
	Entries []entry           `json:"entries,omitempty"`
	Links   map[string]string `json:"links,omitempty"`
	Garbage []garbage         `json:"garbage,omitempty"`
}

type entry struct {
	File    string    `json:"file"`
	Digest  string    `json:"digest"`
	Size    int64     `json:"size"`
	Seq     uint64    `json:"seq"`
	Written time.Time `json:"written"`
}

// garbage is a blob that this index named.
type garbage struct {
	Digest string    `json:"digest"`
	Since  time.Time `json:"since"`
}

func (e entry) stat(k artifact.Key) artifact.Stat {
	k.File = e.File
	return artifact.Stat{Key: k, Size: e.Size, Digest: e.Digest, Seq: e.Seq, Written: e.Written}
}

// indexName is the name of an object's document.
func indexName(k artifact.Key) string {
	return strings.ToLower(k.Kind) + "." + k.Namespace + "." + k.Name
}

func objectOf(name string) (artifact.Key, bool) {
	parts := strings.SplitN(name, ".", 3)
	if len(parts) != 3 {
		return artifact.Key{}, false
	}
	k := artifact.Key{Kind: parts[0], Namespace: parts[1], Name: parts[2]}
	return k, k.ValidateObject() == nil && indexName(k) == name
}

// parse reads a document from a registry and checks all of it: names and
// digests in it become paths and requests.
func parse(body []byte) (document, error) {
	var d document
	if len(body) > maxIndex {
		return d, &artifact.LimitError{Name: limitIndex, Max: maxIndex, Got: int64(len(body))}
	}
	if err := json.Unmarshal(body, &d); err != nil {
		return d, fmt.Errorf("%w: index: %w", artifact.ErrCorrupt, err)
	}
	valid := func(file string) bool {
		return artifact.Key{Kind: "x", Namespace: "x", Name: "x", File: file}.Validate() == nil
	}
	for _, e := range d.Entries {
		if sum, err := digest.Parse(e.Digest); err != nil || sum.String() != e.Digest || !valid(e.File) || e.Size < 0 || e.Seq > d.Last {
			return document{}, fmt.Errorf("%w: index entry", artifact.ErrCorrupt)
		}
	}
	for name, to := range d.Links {
		if !valid(name) || !valid(to) {
			return document{}, fmt.Errorf("%w: index link", artifact.ErrCorrupt)
		}
	}
	for _, g := range d.Garbage {
		if sum, err := digest.Parse(g.Digest); err != nil || sum.String() != g.Digest {
			return document{}, fmt.Errorf("%w: index garbage", artifact.ErrCorrupt)
		}
	}
	return d, nil
}

// marshal returns nil for a document that says nothing.
func (d *document) marshal() ([]byte, error) {
	if len(d.Entries)+len(d.Garbage) == 0 {
		return nil, nil
	}
	body, err := json.Marshal(d)
	if err == nil && len(body) > maxIndex {
		err = &artifact.LimitError{Name: limitIndex, Max: maxIndex, Got: int64(len(body))}
	}
	return body, err
}

func (d *document) clone() document {
	return document{Last: d.Last, Entries: slices.Clone(d.Entries), Links: maps.Clone(d.Links), Garbage: slices.Clone(d.Garbage)}
}

func (d *document) find(file string) (entry, bool) {
	for _, e := range d.Entries {
		if e.File == file {
			return e, true
		}
	}
	return entry{}, false
}

// put adds an entry, in place of one of its name.
func (d *document) put(e entry) error {
	d.Last = e.Seq
	delete(d.Links, e.File)
	for i, old := range d.Entries {
		if old.File == e.File {
			d.Entries[i] = e
			if old.Digest != e.Digest {
				d.drop(old.Digest, e.Written)
			}
			return nil
		}
	}
	d.Entries = append(d.Entries, e)
	return nil
}

// drop notes a blob as garbage unless another entry names it.
func (d *document) drop(sum string, at time.Time) {
	for _, e := range d.Entries {
		if e.Digest == sum {
			return
		}
	}
	d.Garbage = slices.DeleteFunc(d.Garbage, func(g garbage) bool { return g.Digest == sum })
	d.Garbage = append(d.Garbage, garbage{Digest: sum, Since: at.UTC().Round(0)})
}

// due lists the garbage that is old enough to be deleted, the oldest first.
func (d *document) due(age time.Duration) []string {
	var out []string
	for i, g := range d.Garbage { // in the order of time
		old := time.Since(g.Since)
		if old >= age || len(d.Garbage)-i > maxGarbage && old >= leastGarbage {
			out = append(out, g.Digest)
		}
	}
	return out
}

// remove drops entries and links by name; without entries nothing is left
// but garbage.
func (d *document) remove(files []string, at time.Time) {
	var gone []entry
	d.Entries = slices.DeleteFunc(d.Entries, func(e entry) bool {
		if slices.Contains(files, e.File) {
			gone = append(gone, e)
			return true
		}
		return false
	})
	for _, e := range gone {
		d.drop(e.Digest, at)
	}
	for _, f := range files {
		delete(d.Links, f)
	}
	if len(d.Entries) == 0 {
		d.Links = nil
	}
}

func (d *document) link(name, to string) {
	if d.Links == nil {
		d.Links = map[string]string{}
	}
	d.Links[name] = to
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/htmlindex"

	"github.com/gitops-kit/sdk/git/internal/object"
)

// Signature says who did something, and when.
type Signature = object.Signature

// Commit is a commit as it was fetched.
type Commit struct {
	Hash, Tree Hash
	Parents    []Hash
	// Author and Committer are as written; a zone that cannot be is read as UTC.
	Author, Committer Signature
	// Message is UTF-8; bytes that are not become U+FFFD.
	Message string
	// Raw holds the exact bytes that Hash names.
	Raw []byte
}

// Tag is an annotated tag as it was fetched.
type Tag struct {
	Name         string
	Hash, Target Hash
	Tagger       Signature
	Message      string
	// Raw holds the exact bytes that Hash names.
	Raw []byte
}

func newCommit(c *object.Commit) *Commit {
	return &Commit{
		Hash: c.Hash, Tree: c.Tree, Parents: c.Parents, Author: c.Author, Committer: c.Committer,
		Message: toUTF8(c.Message, c.Encoding), Raw: c.Raw,
	}
}

func newTag(t *object.Tag) *Tag {
	return &Tag{Name: t.Name, Hash: t.Hash, Target: t.Target, Tagger: t.Tagger, Message: toUTF8(t.Message, ""), Raw: t.Raw}
}

// toUTF8 converts a message from a known encoding and replaces what is not text.
func toUTF8(b []byte, encoding string) string {
	if encoding != "" && !strings.EqualFold(encoding, "utf-8") {
		if e, err := htmlindex.Get(encoding); err == nil {
			if out, err := e.NewDecoder().Bytes(b); err == nil {
				return string(out)
			}
		}
	}
	if utf8.Valid(b) {
		return string(b)
	}
	return strings.ToValidUTF8(string(b), "\ufffd")
}

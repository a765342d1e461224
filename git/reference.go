// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"fmt"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/refname"
)

// Reference says which commit is meant. The first of Commit, Name, SemVer, Tag
// and Branch that is set decides; Branch with Commit restricts the commit to
// that branch's history. The zero value is the remote's HEAD.
type Reference struct {
	// Branch is a branch name without refs/heads/.
	Branch string
	// Tag is a tag name without refs/tags/.
	Tag string
	// SemVer is a range; the greatest tag in it is taken.
	SemVer string
	// Name is a full reference name, such as refs/pull/7/head.
	Name string
	// Commit is a full object id in hexadecimal.
	Commit string
}

// kind is which field of a Reference decides.
type kind uint8

const (
	kindHead kind = iota
	kindBranch
	kindTag
	kindSemVer
	kindName
	kindCommit
)

// want is a checked Reference.
type want struct {
	kind     kind
	ref      Reference
	commit   driver.Hash
	name     string // full reference name asked for, without ^{}
	prefixes []string
	ranges   *semver.Constraints
}

// String says what was asked for, for errors.
func (r Reference) String() string {
	switch {
	case r.Commit != "" && r.Branch != "":
		return r.Branch + "@" + r.Commit
	case r.Commit != "":
		return r.Commit
	case r.Name != "":
		return r.Name
	case r.SemVer != "":
		return r.SemVer
	case r.Tag != "":
		return r.Tag
	case r.Branch != "":
		return r.Branch
	}
	return "HEAD"
}

// check validates a Reference without any request.
func (r Reference) check() (*want, error) {
	w := &want{ref: r}
	if r.Branch != "" && (r.Commit != "" || r.Name == "" && r.SemVer == "" && r.Tag == "") {
		w.kind, w.name = kindBranch, "refs/heads/"+r.Branch
		if !refname.Component(r.Branch) || !refname.Valid(w.name) {
			return nil, fmt.Errorf("branch %q: %w", r.Branch, ErrInvalidRef)
		}
		w.prefixes = []string{w.name}
	}
	switch {
	case r.Commit != "":
		h, err := driver.ParseHash(r.Commit)
		if err != nil {
			return nil, fmt.Errorf("commit %q: %w: want 40 or 64 hexadecimal digits", r.Commit, ErrInvalidRef)
		}
		w.kind, w.commit = kindCommit, h
	case r.Name != "":
		w.kind, w.name = kindName, strings.TrimSuffix(r.Name, "^{}")
		if !refname.Valid(w.name) {
			return nil, fmt.Errorf("name %q: %w: want a full reference name", r.Name, ErrInvalidRef)
		}
		w.prefixes = []string{w.name}
	case r.SemVer != "":
		c, err := semver.NewConstraint(r.SemVer)
		if err != nil {
			return nil, fmt.Errorf("range %q: %w: %w", r.SemVer, ErrInvalidRef, err)
		}
		w.kind, w.ranges, w.prefixes = kindSemVer, c, []string{"refs/tags/"}
	case r.Tag != "":
		w.kind, w.name = kindTag, "refs/tags/"+r.Tag
		if !refname.Component(r.Tag) || !refname.Valid(w.name) {
			return nil, fmt.Errorf("tag %q: %w", r.Tag, ErrInvalidRef)
		}
		w.prefixes = []string{w.name}
	case r.Branch == "":
		w.prefixes = []string{"HEAD"}
	}
	return w, nil
}

// keep is the filter of the listing: exact names, all tags for a range, and
// for HEAD also the branches, because version 0 tells the target apart.
func (w *want) keep(name []byte) bool {
	switch w.kind {
	case kindSemVer:
		return len(name) > 10 && string(name[:10]) == "refs/tags/" && threeParts(name[10:])
	case kindHead:
		return string(name) == "HEAD"
	}
	return string(name) == w.name
}

// threeParts reports whether a tag could be a version: two dots before any
// pre-release or build part.
func threeParts(name []byte) bool {
	dots := 0
	for i, c := range name {
		switch {
		case c == '.':
			dots++
		case c == '-' || c == '+':
			return dots == 2
		case c == 'v' && i == 0:
		case c < '0' || c > '9':
			return false
		}
	}
	return dots == 2
}

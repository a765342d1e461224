// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strings"

	"github.com/gitops-kit/sdk/untar/ignore"
)

// ignoreInput is the path under which the patterns count as an input.
const ignoreInput = "**/.sourceignore"

// loadIgnore sets up the filter of Options.Ignore.
func (l *loader) loadIgnore() error {
	patterns, err := ignorePatterns(l.trees[0].fsys, l.opts.Ignore)
	if err != nil {
		return &BuildError{File: ignoreInput, Err: err}
	}
	m, err := ignore.New(patterns, ignore.Options{})
	if err != nil {
		return &BuildError{File: ignoreInput, Err: err}
	}
	l.record(Input{Path: ignoreInput, Kind: InputIgnore, SHA256: ignoreDigest(patterns)})
	l.ignored = func(rel string, dir bool) bool { return rel != "." && m.Match(rel, dir).Ignored }
	return nil
}

func ignorePatterns(root fs.FS, o Ignore) ([]ignore.Pattern, error) {
	own, err := ignore.Parse(strings.NewReader(o.Patterns), "", ignore.Options{})
	if err != nil {
		return nil, err
	}
	if !o.Files {
		return own, nil
	}
	found, err := ignore.Load(root, ignore.LoadOptions{Prune: own})
	if err != nil {
		return nil, err
	}
	return append(own, found...), nil
}

func ignoreDigest(patterns []ignore.Pattern) string {
	h := sha256.New()
	for _, p := range patterns {
		fmt.Fprintf(h, "%q %q\n", p.Dir, p.Text)
	}
	return hex.EncodeToString(h.Sum(nil))
}

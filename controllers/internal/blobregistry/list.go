// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package blobregistry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/gitops-kit/sdk/artifact"
)

var tagRE = regexp.MustCompile(`^[0-9a-f]{40}$`)

// ListIndex implements [shared.Indexes]: the pages of tags, and a GET for
// each document whose name is not known yet.
func (r *Registry) ListIndex(ctx context.Context) ([]string, error) {
	tags, err := r.tags(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, tag := range tags {
		if !tagRE.MatchString(tag) {
			continue
		}
		r.mu.Lock()
		name, known := r.names[tag]
		r.mu.Unlock()
		if known {
			out = append(out, name)
			continue
		}
		f, err := r.get(ctx, tag)
		if errors.Is(err, artifact.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if f.ArtifactType != IndexType {
			continue // somebody else's
		}
		name = f.Annotations[keyDirectory]
		if Tag(name) != tag {
			return nil, failed("list indexes", fmt.Errorf("%w: tag %s has the name of another", artifact.ErrCorrupt, tag))
		}
		r.learn(tag, f)
		if !f.removed() {
			out = append(out, name)
		}
	}
	return out, nil
}

func (r *Registry) tags(ctx context.Context) ([]string, error) {
	const op = "list indexes"
	u := r.url("tags", "list")
	u.RawQuery = "n=1000"
	var out []string
	seen := map[string]bool{}
	for page := int64(1); ; page++ {
		if page > r.o.Limits.Pages {
			return nil, failed(op, &artifact.LimitError{Name: "oci-pages", Max: r.o.Limits.Pages, Got: page})
		}
		if seen[u.String()] {
			return nil, failed(op, ErrPageLoop)
		}
		seen[u.String()] = true
		b, h, err := r.read(ctx, call{op: op, method: http.MethodGet, url: u, actions: pull}, "listing-response", r.o.Limits.Listing)
		if errors.Is(err, artifact.ErrNotFound) && page == 1 {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		var doc struct {
			Tags []string `json:"tags"`
		}
		if err := json.Unmarshal(b, &doc); err != nil {
			return nil, failed(op, fmt.Errorf("%w: list of tags", ErrNotRegistry))
		}
		out = append(out, doc.Tags...)
		if int64(len(out)) > r.o.Limits.Tags {
			return nil, failed(op, &artifact.LimitError{Name: "oci-tags", Max: r.o.Limits.Tags, Got: int64(len(out))})
		}
		next := nextPage(h.Values("Link"))
		if next == "" {
			return out, nil
		}
		to, err := u.Parse(next)
		if err != nil || !r.ours(to) || to.User != nil {
			return nil, failed(op, ErrCrossOrigin)
		}
		u = to
	}
}

// nextPage finds the target of rel="next" in Link headers.
func nextPage(values []string) string {
	for _, v := range values {
		for {
			_, rest, ok := strings.Cut(v, "<")
			if !ok {
				break
			}
			target, rest, ok := strings.Cut(rest, ">")
			if !ok {
				break
			}
			params, more, _ := strings.Cut(rest, ",")
			for p := range strings.SplitSeq(params, ";") {
				k, val, _ := strings.Cut(strings.TrimSpace(p), "=")
				if strings.EqualFold(k, "rel") && strings.Trim(val, `"`) == "next" {
					return target
				}
			}
			v = more
		}
	}
	return ""
}

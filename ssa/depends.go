// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/gitops-kit/sdk/ssa/inventory"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// dependsOn is the annotation that names what an object depends on.
const dependsOn = "config.kubernetes.io/depends-on"

var errNoDependency = errors.New("object does not exist")

// parseDependsOn reads "group/kind/name" and "group/namespaces/ns/kind/name",
// separated by commas. The core group is empty.
func parseDependsOn(u *unstructured.Unstructured) ([]ID, error) {
	text := nestedString(u.Object, "metadata", "annotations", dependsOn)
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var out []ID
	for ref := range strings.SplitSeq(text, ",") {
		p := strings.Split(strings.TrimSpace(ref), "/")
		var id ID
		switch {
		case len(p) == 3:
			id = ID{Group: p[0], Kind: p[1], Name: p[2]}
		case len(p) == 5 && p[1] == "namespaces":
			id = ID{Group: p[0], Namespace: p[2], Kind: p[3], Name: p[4]}
		}
		if id.Kind == "" || id.Name == "" || len(p) == 5 && id.Namespace == "" {
			return nil, fmt.Errorf("%w: annotation %s: reference %q", ErrInvalidObject, dependsOn, ref)
		}
		out = append(out, id)
	}
	return out, nil
}

// dependencies reads the annotations and blocks circles and references to
// nothing. What an entry depends on is written, and Current, before it.
func (pl *planner) dependencies(ctx context.Context) {
	if !pl.o.DependsOnAnnotation {
		return
	}
	var g Graph[ID]
	byID := map[ID]*Entry{}
	for i := range pl.p.Entries {
		if e := &pl.p.Entries[i]; e.x.desired != nil {
			byID[e.ID] = e
		}
	}
	for i := range pl.p.Entries {
		e := &pl.p.Entries[i]
		if e.x.desired == nil {
			continue
		}
		deps, err := parseDependsOn(e.x.desired)
		if err != nil {
			e.block(WhyInvalid, OpDecode, err)
			continue
		}
		g.Add(e.ID)
		for _, id := range deps {
			if _, ok := byID[id]; ok {
				g.Need(e.ID, id)
				e.x.depends = append(e.x.depends, id)
				continue
			}
			if err := pl.exists(ctx, id); err != nil {
				e.block(WhyInvalid, OpRead, err)
			}
		}
	}
	var ge *GraphError[ID]
	var le *LimitError
	switch waves, err := g.Order(); {
	case errors.As(err, &ge):
		for _, c := range ge.Cycles {
			for _, id := range c {
				byID[id].block(WhyInvalid, OpDecode, &CycleError{Members: c})
			}
		}
	case errors.As(err, &le):
		for _, e := range byID {
			if len(e.x.depends) > 0 {
				e.block(WhyInvalid, OpLimit, err)
			}
		}
	default:
		for _, wave := range waves {
			for _, id := range wave {
				byID[id].follow(byID)
			}
		}
	}
}

// follow moves the entry behind what it depends on.
func (e *Entry) follow(byID map[ID]*Entry) {
	for _, id := range e.x.depends {
		d := byID[id]
		if d.Stage > e.Stage {
			e.Stage, e.Rank = d.Stage, d.Rank
		} else if d.Stage == e.Stage && d.Rank > e.Rank {
			e.Rank = d.Rank
		}
		e.x.wave = max(e.x.wave, d.x.wave+1)
	}
}

// exists looks for a dependency outside of the set.
func (pl *planner) exists(ctx context.Context, id ID) error {
	r, err := pl.m.resource(ctx, inventory.Item{ID: id})
	if err != nil {
		return fmt.Errorf("dependency %s: %w", id.Display(), err)
	}
	pl.count.get.Add(1)
	l, err := pl.m.get(ctx, r, id.Namespace, id.Name)
	switch {
	case err != nil:
		return fmt.Errorf("dependency %s: %w", id.Display(), err)
	case l == nil:
		return fmt.Errorf("dependency %s: %w", id.Display(), errNoDependency) // another set may create it
	}
	return nil
}

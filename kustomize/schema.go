// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"sigs.k8s.io/kustomize/kyaml/openapi"
	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// builtinVersion is the version of the schema that kyaml brings.
const builtinVersion = openapi.DefaultOpenAPI

// process is the state that kyaml forces on us: one schema per process. The
// gate guards it; nothing else of this package is shared between builds.
var process struct { //nolint:gochecknoglobals // mirrors kyaml's process-wide schema
	gate   gate
	warm   sync.Once
	parses atomic.Int64
	lanes  atomic.Int64
}

// pristine drops whatever is there and parses the built-in schema. The caller
// is alone.
func pristine() {
	openapi.ResetOpenAPI()
	openapi.SchemaForResourceType(yaml.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"})
	process.parses.Add(1)
}

// warm parses the built-in schema once, before the first build of the process.
func warm() { process.warm.Do(pristine) }

// share runs f beside other builds. foreign is called if somebody else changed
// the schema; it is restored then.
func share(ctx context.Context, wait time.Duration, foreign func(), f func() error) error {
	warm()
	if err := process.gate.enter(ctx, false, wait); err != nil {
		return err
	}
	for openapi.GetSchemaVersion() != builtinVersion {
		process.gate.leave(false)
		if foreign != nil {
			foreign()
		}
		if err := restore(ctx, wait); err != nil {
			return err
		}
		if err := process.gate.enter(ctx, false, wait); err != nil {
			return err
		}
	}
	defer process.gate.leave(false)
	return f()
}

func restore(ctx context.Context, wait time.Duration) error {
	if err := process.gate.enter(ctx, true, wait); err != nil {
		return err
	}
	defer process.gate.leave(true)
	if openapi.GetSchemaVersion() != builtinVersion {
		pristine()
	}
	return nil
}

// alone runs f while no other build runs and restores the schema afterwards,
// whatever f does. bare drops the built-in schema before f.
func alone(ctx context.Context, wait time.Duration, bare bool, f func() error) error {
	warm()
	if err := process.gate.enter(ctx, true, wait); err != nil {
		return err
	}
	process.lanes.Add(1)
	defer process.gate.leave(true)
	defer pristine()
	switch {
	case bare:
		openapi.ResetOpenAPI()
	case openapi.GetSchemaVersion() != builtinVersion:
		pristine()
	}
	return f()
}

// ShareSchema runs f beside the builds of this package and keeps builds with a
// schema of their own out. Programs that call kustomize themselves wrap their
// calls with it. f must not call a [Builder].
func ShareSchema(ctx context.Context, f func() error) error {
	return share(ctx, 0, nil, f)
}

// LockSchema runs f while no build of this package runs, and restores the
// built-in schema afterwards. Programs that bring schemas to kustomize
// themselves wrap their calls with it. f must not call a [Builder].
func LockSchema(ctx context.Context, f func() error) error {
	return alone(ctx, 0, false, f)
}

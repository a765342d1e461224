// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"context"
	"errors"

	"github.com/gitops-kit/sdk/apis/meta"
)

var errExpressions = errors.New("expressions are not served by this installation")

// healthExpression compiles one health check.
func healthExpression(meta.CustomHealthCheck) (func(context.Context, map[string]any) (string, string, error), error) {
	return nil, errExpressions
}

// checkReady compiles a readyExpr.
func checkReady(string) error { return errExpressions }

// evalReady evaluates a readyExpr.
func evalReady(context.Context, string, map[string]any, map[string]any) (bool, error) {
	return false, errExpressions
}

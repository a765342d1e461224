// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"context"
	"strings"

	v1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/cel"
	"github.com/gitops-kit/sdk/ssa"
)

// HealthRules compiles spec.healthCheckExprs with c, which keeps what it has
// compiled.
func HealthRules(o *v1.Kustomization, c *cel.Compiler) ([]ssa.Rule, error) {
	var out []ssa.Rule
	for _, h := range o.Spec.HealthCheckExprs {
		eval, err := c.Health(h)
		if err != nil {
			return nil, err
		}
		g, _, ok := strings.Cut(h.APIVersion, "/")
		if !ok {
			g = ""
		}
		out = append(out, ssa.Rule{Group: g, Kind: h.Kind, Evaluate: eval})
	}
	return out, nil
}

// checkExpressions compiles every expression of the spec.
func checkExpressions(o *v1.Kustomization, c *cel.Compiler) error {
	_, err := HealthRules(o, c)
	for _, d := range o.Spec.DependsOn {
		if err == nil && d.ReadyExpr != "" {
			_, err = c.Compile(d.ReadyExpr, cel.Dependency, cel.Bool)
		}
	}
	if err != nil {
		return stalled(meta.InvalidCELExpressionReason, err, "Reconciliation failed terminally due to configuration error: %v", err)
	}
	return nil
}

// ready evaluates a readyExpr.
func ready(c *cel.Compiler) func(ctx context.Context, expr string, self, dep map[string]any) (bool, error) {
	return func(ctx context.Context, expr string, self, dep map[string]any) (bool, error) {
		p, err := c.Compile(expr, cel.Dependency, cel.Bool)
		if err != nil {
			return false, err
		}
		return p.Bool(ctx, map[string]any{"self": self, "dep": dep})
	}
}

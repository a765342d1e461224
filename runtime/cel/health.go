// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"context"
	"errors"

	"github.com/gitops-kit/sdk/apis/meta"
)

// Statuses that a health function returns.
const (
	// InProgress: the object has not reached its desired state.
	InProgress = "InProgress"
	// Failed: it will not reach it by itself.
	Failed = "Failed"
	// Current: it has reached it.
	Current = "Current"
)

// HealthFunc assesses an object, given as JSON values.
type HealthFunc = func(ctx context.Context, object map[string]any) (status, message string, err error)

// ErrNoCurrent reports a health check without an expression for Current.
var ErrNoCurrent = errors.New("the expression for current is required")

// Health compiles a custom health check. The order of the verdicts: a status
// about an older generation is InProgress, unless the expressions read no
// variable or read observedGeneration themselves; then inProgress, failed and
// current decide; otherwise InProgress. An evaluation error, such as a field that
// the object does not have yet, is InProgress. A [*CostError] is returned.
func Health(check meta.CustomHealthCheck) (HealthFunc, error) { return New(Options{}).Health(check) }

// Health is the package's Health with the compiler's cache and limits.
func (c *Compiler) Health(check meta.CustomHealthCheck) (HealthFunc, error) {
	if check.Current == "" {
		return nil, &ExprError{Compile: true, Err: ErrNoCurrent}
	}
	h := &health{}
	for _, x := range []struct {
		text   string
		status string
	}{{check.InProgress, InProgress}, {check.Failed, Failed}, {check.Current, Current}} {
		if x.text == "" {
			continue
		}
		p, err := c.Compile(x.text, Object, Bool)
		if err != nil {
			return nil, err
		}
		h.rules = append(h.rules, rule{p, x.status})
		h.variables = h.variables || p.variables
		h.generation = h.generation || p.generation
	}
	return h.evaluate, nil
}

type rule struct {
	prog   *Program
	status string
}

type health struct {
	rules                 []rule
	variables, generation bool
}

func (h *health) evaluate(ctx context.Context, object map[string]any) (status, message string, err error) {
	if h.variables && !h.generation && outdated(object) {
		return InProgress, "observed generation is not the current one", nil
	}
	vars := map[string]any{"self": object}
	for _, k := range []string{"apiVersion", "kind", "metadata", "spec", "status", "data"} {
		if v, ok := object[k]; ok {
			vars[k] = v
		}
	}
	if object["kind"] == "Secret" && object["apiVersion"] == "v1" {
		delete(vars, "data")
	}
	for _, r := range h.rules {
		yes, err := r.prog.Bool(ctx, vars)
		var cost *CostError
		switch {
		case errors.As(err, &cost), err != nil && ctx.Err() != nil:
			return "", "", err
		case err != nil:
			return InProgress, err.Error(), nil //nolint:nilerr // the error is the message
		case yes:
			return r.status, "", nil
		}
	}
	return InProgress, "", nil
}

// outdated reports whether the status is about another generation.
func outdated(object map[string]any) bool {
	md, _ := object["metadata"].(map[string]any)
	st, _ := object["status"].(map[string]any)
	generation, ok1 := integer(md["generation"])
	observed, ok2 := integer(st["observedGeneration"])
	return ok1 && ok2 && generation != observed
}

func integer(v any) (int64, bool) {
	switch n := v.(type) {
	case int64:
		return n, true
	case int:
		return int64(n), true
	case float64:
		return int64(n), n == float64(int64(n))
	}
	return 0, false
}

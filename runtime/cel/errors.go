// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"fmt"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/internal/text"
)

// ExprError reports an expression that does not compile or evaluate.
type ExprError struct {
	// Expr is the expression, at most 256 bytes of it.
	Expr string
	// Line and Column of the error, 0 when not known.
	Line, Column int
	// Compile is true when the expression itself is wrong.
	Compile bool
	// Err is the cause.
	Err error
}

// Error names expression, place and cause in one line.
func (e *ExprError) Error() string {
	what := "evaluate"
	if e.Compile {
		what = "compile"
	}
	place := ""
	if e.Line > 0 {
		place = fmt.Sprintf(" at %d:%d", e.Line, e.Column)
	}
	return fmt.Sprintf("%s expression %q%s: %v", what, e.Expr, place, e.Err)
}

// Unwrap returns the cause.
func (e *ExprError) Unwrap() error { return e.Err }

// Reason returns InvalidCELExpression.
func (e *ExprError) Reason() string { return meta.InvalidCELExpressionReason }

// Terminal reports whether the expression itself is wrong.
func (e *ExprError) Terminal() bool { return e.Compile }

// CostError reports an evaluation that was too expensive or took too long.
type CostError struct {
	// Expr is the expression, at most 256 bytes of it.
	Expr string
	// Limit is the one that was exceeded: "cost" or "time".
	Limit string
}

// Error names expression and limit.
func (e *CostError) Error() string {
	return fmt.Sprintf("evaluate expression %q: %s limit exceeded", e.Expr, e.Limit)
}

// Reason returns InvalidCELExpression.
func (e *CostError) Reason() string { return meta.InvalidCELExpressionReason }

// Terminal returns true: the same expression costs the same.
func (e *CostError) Terminal() bool { return true }

func short(expr string) string { return text.Cut(text.Escape(expr, 256), 256, "…") }

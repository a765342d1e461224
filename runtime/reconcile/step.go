// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"time"
)

// Step is one named part of a run.
type Step[T Object] struct {
	// Name for logs, metrics and spans; a constant.
	Name string
	// Run does the work. A non-zero end of the [Result], or an error, ends the run.
	Run func(context.Context, T) (Result, error)
	// Progress is shown in the Reconciling condition while the step takes long.
	Progress string
}

// Do runs the steps in order until one ends the run; after the last one the run
// has succeeded. A run that was parked continues at the step that parked it.
func Do[T Object](ctx context.Context, obj T, steps ...Step[T]) (Result, error) {
	st := stateOf(ctx)
	first := 0
	if st != nil && st.resumeAt != "" {
		for i, s := range steps {
			if s.Name == st.resumeAt {
				first = i
				break
			}
		}
	}
	var last Result
	for _, s := range steps[first:] {
		res, err := do(ctx, obj, st, s)
		if err != nil {
			return res, &stepError{step: s.Name, err: err}
		}
		if res.ends() {
			return res, nil
		}
		if res.Message != "" || res.Reason != "" || res.After != 0 {
			last = res
		}
	}
	last.Done = true
	return last, nil
}

func do[T Object](ctx context.Context, obj T, st *state, s Step[T]) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	if st == nil {
		return s.Run(ctx, obj)
	}
	st.step = s.Name
	if s.Progress != "" {
		Progress(ctx, "%s", s.Progress)
	}
	sctx, end := st.telemetry.Span(ctx, "step "+s.Name)
	start := time.Now()
	res, err := s.Run(sctx, obj)
	st.metrics.Step(st.kind, s.Name, time.Since(start))
	end(err)
	if st.resumeAt == s.Name {
		st.resumeAt, st.resumed = "", nil
	}
	if res.waiter != nil {
		st.parkedAt = s.Name
	}
	return res, err
}

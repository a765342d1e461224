// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package limits_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/gitops-kit/sdk/tools/shared/limits"
)

func TestLimitError(t *testing.T) {
	err := fmt.Errorf("read: %w", limits.Check("tar-entries", 10, 11))
	var le *limits.LimitError
	if !errors.Is(err, limits.ErrLimit) || !errors.As(err, &le) {
		t.Fatalf("got %v", err)
	}
	if name, max, got := le.Limit(); name != "tar-entries" || max != 10 || got != 11 {
		t.Errorf("got %s %d %d", name, max, got)
	}
	if le.Reason() != "LimitExceeded" || !le.Terminal() || (&limits.LimitError{Wait: true}).Terminal() {
		t.Error("wrong behaviour")
	}
	if limits.Check("x", 10, 10) != nil {
		t.Error("the bound itself is allowed")
	}
}

func TestOr(t *testing.T) {
	if limits.Or(0, 7) != 7 || limits.Or(3, 7) != 3 || limits.Or(-1, 7) != 1<<63-1 {
		t.Error("0 is the default, negative is unlimited")
	}
}

func TestUnlimited(t *testing.T) {
	got := limits.Unlimited(struct{ A, B, C int64 }{-1, 0, -5})
	if !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("got %q", got)
	}
}

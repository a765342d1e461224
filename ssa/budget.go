// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"fmt"
	"strconv"
	"strings"
)

// Budget bounds the deletions of one prune. It is exceeded when there are
// more than Count and, with a Percent, also more than that share of the old
// inventory. The zero value is off.
type Budget struct {
	Count   int
	Percent int
}

// Exceeded reports whether that many deletions of an inventory of that size
// are too many.
func (b Budget) Exceeded(deletions, inventory int) bool {
	if b == (Budget{}) || deletions <= b.Count {
		return false
	}
	return b.Percent == 0 || deletions*100 > b.Percent*inventory
}

// String returns what [ParseBudget] reads.
func (b Budget) String() string {
	switch {
	case b == (Budget{}):
		return ""
	case b.Percent == 0:
		return strconv.Itoa(b.Count)
	}
	return fmt.Sprintf("%d/%d%%", b.Count, b.Percent)
}

// ParseBudget reads "<count>" or "<count>/<percent>%"; "" is off. Malformed
// text is an error that matches [ErrInvalidObject].
func ParseBudget(text string) (Budget, error) {
	if text == "" {
		return Budget{}, nil
	}
	bad := func() (Budget, error) {
		return Budget{}, fmt.Errorf("parse budget %q: want <count> or <count>/<percent>%%: %w", text, ErrInvalidObject)
	}
	count, percent, both := strings.Cut(text, "/")
	n, ok := smallNumber(count)
	if !ok {
		return bad()
	}
	b := Budget{Count: n}
	if both {
		percent, ok = strings.CutSuffix(percent, "%")
		if b.Percent, both = smallNumber(percent); !ok || !both || b.Percent < 1 || b.Percent > 100 {
			return bad()
		}
	}
	if b == (Budget{}) {
		return bad() // "0" would mean off; a budget of no deletions has no such form
	}
	return b, nil
}

func smallNumber(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 0 && n <= 1_000_000_000 && strconv.Itoa(n) == s
}

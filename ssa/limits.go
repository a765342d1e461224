// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"strings"

	"github.com/gitops-kit/sdk/ssa/internal/limits"
	"github.com/gitops-kit/sdk/ssa/internal/redact"
)

// Limits bound what an input or a server may make a call do. 0: the default
// named on each field; negative: unlimited. Exceeding one is a [*LimitError]
// with the name in parentheses.
type Limits struct {
	Objects     int   // objects of a set (objects): 20,000
	Object      int64 // bytes of one object as JSON (object): 1.5 MiB
	DocExpanded int64 // bytes of one document after alias expansion (doc-expanded): 16 MiB
	Input       int64 // bytes that ReadObjects reads (input): 64 MiB
	Docs        int   // documents that ReadObjects reads (docs): 50,000
	Depth       int   // nesting of a document or object (yaml-depth): 256
	ListPages   int   // pages of one LIST (list-pages): 1,000
	ListItems   int   // items of one LIST (list-items): 500,000
	FieldsV1    int64 // bytes of one managedFields entry (fields-v1): 1 MiB
	IgnoreRules int   // ignore rules times their paths (ignore-rules): 1,000
}

const unlimited = 1<<63 - 1

func (l Limits) objects() int64     { return limits.Or(int64(l.Objects), 20_000) }
func (l Limits) object() int64      { return limits.Or(l.Object, 3<<19) }
func (l Limits) docExpanded() int64 { return limits.Or(l.DocExpanded, 16<<20) }
func (l Limits) input() int64       { return limits.Or(l.Input, 64<<20) }
func (l Limits) docs() int64        { return limits.Or(int64(l.Docs), 50_000) }
func (l Limits) depth() int64       { return min(limits.Or(int64(l.Depth), 256), 4096) }
func (l Limits) listPages() int64   { return limits.Or(int64(l.ListPages), 1_000) }
func (l Limits) listItems() int64   { return limits.Or(int64(l.ListItems), 500_000) }
func (l Limits) fieldsV1() int64    { return limits.Or(l.FieldsV1, 1<<20) }
func (l Limits) ignoreRules() int64 { return limits.Or(int64(l.IgnoreRules), 1_000) }

// Unlimited names the limits that are switched off, so that whoever logs can
// say so once.
func (l Limits) Unlimited() []string { return limits.Unlimited(l) }

// oneLine makes foreign text safe to show and cuts it to 1 KiB.
func oneLine(s string) string {
	return redact.Text(strings.TrimSpace(s), maxErrorText)
}

// cutText is oneLine with another bound.
func cutText(s string, max int) string { return redact.Text(strings.TrimSpace(s), max) }

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package queue

import "container/heap"

// delays is a heap of items by due time.
type delays struct{ list []*item }

// Len implements heap.Interface.
func (d *delays) Len() int { return len(d.list) }

// Less implements heap.Interface.
func (d *delays) Less(i, j int) bool { return d.list[i].due.Before(d.list[j].due) }

// Swap implements heap.Interface.
func (d *delays) Swap(i, j int) {
	d.list[i], d.list[j] = d.list[j], d.list[i]
	d.list[i].heap, d.list[j].heap = i, j
}

// Push implements heap.Interface.
func (d *delays) Push(x any) {
	if it, ok := x.(*item); ok {
		it.heap = len(d.list)
		d.list = append(d.list, it)
	}
}

// Pop implements heap.Interface.
func (d *delays) Pop() any {
	last := len(d.list) - 1
	it := d.list[last]
	d.list[last] = nil
	d.list = d.list[:last]
	it.heap = -1
	return it
}

// put adds an item or moves it to its new due time.
func (d *delays) put(it *item) {
	if it.heap >= 0 {
		heap.Fix(d, it.heap)
		return
	}
	it.tenant.delayed++
	heap.Push(d, it)
}

func (d *delays) first() *item { return d.list[0] }

func (d *delays) pop() *item {
	it := d.list[0]
	d.remove(it)
	return it
}

func (d *delays) remove(it *item) {
	heap.Remove(d, it.heap)
	it.tenant.delayed--
}

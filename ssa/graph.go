// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"cmp"
	"slices"
)

// Graph orders things that depend on each other: objects of a set, or sets.
// The zero value is empty and ready to use. Not safe for concurrent use.
type Graph[K comparable] struct {
	index map[K]int
	nodes []K
	needs [][]int // what a node depends on
	used  [][]int // what depends on a node
}

// Add adds a node; adding it again does nothing.
func (g *Graph[K]) Add(k K) { g.node(k) }

func (g *Graph[K]) node(k K) int {
	if g.index == nil {
		g.index = map[K]int{}
	}
	i, ok := g.index[k]
	if !ok {
		i = len(g.nodes)
		g.index[k] = i
		g.nodes = append(g.nodes, k)
		g.needs, g.used = append(g.needs, nil), append(g.used, nil)
	}
	return i
}

// Need says that from comes after to. Both are added.
func (g *Graph[K]) Need(from, to K) {
	f, t := g.node(from), g.node(to)
	if slices.Contains(g.needs[f], t) {
		return
	}
	g.needs[f] = append(g.needs[f], t)
	g.used[t] = append(g.used[t], f)
}

// maxWaves is how deep dependencies may be.
const maxWaves = 64

// Order returns the nodes in waves: each wave depends only on earlier ones.
// Nodes keep the order in which they were added. The error is a [*GraphError]
// when nodes depend on each other in a circle, or a [*LimitError] when there
// are more than 64 waves.
func (g *Graph[K]) Order() ([][]K, error) {
	waves, left := g.order()
	if left > 0 {
		return nil, &GraphError[K]{Cycles: g.Cycles()}
	}
	if len(waves) > maxWaves {
		return nil, &LimitError{Name: "depends-on", Max: maxWaves, Got: int64(len(waves))}
	}
	return waves, nil
}

// Reverse returns the waves of Order from the last to the first.
func (g *Graph[K]) Reverse() ([][]K, error) {
	waves, err := g.Order()
	slices.Reverse(waves)
	return waves, err
}

func (g *Graph[K]) order() (waves [][]K, left int) {
	open := make([]int, len(g.nodes))
	var ready []int
	for i := range g.nodes {
		if open[i] = len(g.needs[i]); open[i] == 0 {
			ready = append(ready, i)
		}
	}
	left = len(g.nodes)
	for len(ready) > 0 {
		slices.Sort(ready)
		wave := make([]K, len(ready))
		var next []int
		for i, n := range ready {
			wave[i] = g.nodes[n]
			for _, u := range g.used[n] {
				if open[u]--; open[u] == 0 {
					next = append(next, u)
				}
			}
		}
		left -= len(ready)
		waves, ready = append(waves, wave), next
	}
	return waves, left
}

// Cycles returns the groups of nodes that depend on each other in a circle.
func (g *Graph[K]) Cycles() [][]K {
	var out [][]K
	for _, c := range g.components() {
		if len(c) == 1 && !slices.Contains(g.needs[c[0]], c[0]) {
			continue
		}
		slices.Sort(c)
		members := make([]K, len(c))
		for i, n := range c {
			members[i] = g.nodes[n]
		}
		out = append(out, members)
	}
	slices.SortFunc(out, func(a, b []K) int { return cmp.Compare(g.index[a[0]], g.index[b[0]]) })
	return out
}

// components finds the strongly connected components, without recursion.
func (g *Graph[K]) components() [][]int {
	n := len(g.nodes)
	order := make([]int, n) // 0: not visited
	low := make([]int, n)
	on := make([]bool, n)
	var stack []int
	var out [][]int
	type frame struct{ node, edge int }
	count := 0
	visit := func(i int) frame {
		count++
		order[i], low[i], on[i] = count, count, true
		stack = append(stack, i)
		return frame{node: i}
	}
	for start := range n {
		if order[start] != 0 {
			continue
		}
		calls := []frame{visit(start)}
		for len(calls) > 0 {
			f := &calls[len(calls)-1]
			if f.edge < len(g.needs[f.node]) {
				to := g.needs[f.node][f.edge]
				f.edge++
				if order[to] == 0 {
					calls = append(calls, visit(to))
				} else if on[to] {
					low[f.node] = min(low[f.node], order[to])
				}
				continue
			}
			node := f.node
			calls = calls[:len(calls)-1]
			if len(calls) > 0 {
				parent := calls[len(calls)-1].node
				low[parent] = min(low[parent], low[node])
			}
			if low[node] != order[node] {
				continue
			}
			at := slices.Index(stack, node)
			c := slices.Clone(stack[at:])
			stack = stack[:at]
			for _, m := range c {
				on[m] = false
			}
			out = append(out, c)
		}
	}
	return out
}

// GraphError lists the circles of a [Graph].
type GraphError[K comparable] struct{ Cycles [][]K }

// Error implements error.
func (e *GraphError[K]) Error() string {
	return "dependencies form a cycle"
}

// Reason returns ReconciliationFailed.
func (e *GraphError[K]) Reason() string { return reasonFailed }

// Terminal reports true.
func (e *GraphError[K]) Terminal() bool { return true }

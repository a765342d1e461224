// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"maps"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MaxHistory is the number of snapshots a history keeps.
const MaxHistory = 5

// Snapshot is the record of one state and of the outcome of applying it.
type Snapshot struct {
	// Digest is the checksum of what was applied, '<algorithm>:<checksum>'.
	// +required
	Digest string `json:"digest"`

	// FirstReconciled is when the digest was first reconciled with this status.
	// +required
	FirstReconciled metav1.Time `json:"firstReconciled"`

	// LastReconciled is when it was last.
	// +required
	LastReconciled metav1.Time `json:"lastReconciled"`

	// LastReconciledDuration is how long the last run took.
	// +required
	LastReconciledDuration Duration `json:"lastReconciledDuration"`

	// LastReconciledStatus is the reason the last run ended with.
	// +required
	LastReconciledStatus string `json:"lastReconciledStatus"`

	// TotalReconciliations counts the runs with this digest and status.
	// +required
	TotalReconciliations int64 `json:"totalReconciliations"`

	// Metadata holds further information about the snapshot, such as the revision.
	// +optional
	Metadata map[string]string `json:"metadata,omitempty"`
}

// History is a list of snapshots, newest first, at most [MaxHistory].
type History []Snapshot

// SnapshotUpdate is the outcome of one or more runs.
//
// +kubebuilder:object:generate=false
type SnapshotUpdate struct {
	// Digest of what was applied.
	Digest string
	// Status is the reason the run ended with.
	Status string
	// At is when the run ended.
	At time.Time
	// Took is how long it took.
	Took time.Duration
	// Runs is the number of runs the update stands for; below 1 it is 1.
	Runs int64
	// Metadata replaces the snapshot's metadata.
	Metadata map[string]string
}

// Latest returns the newest snapshot, nil when there is none.
func (h History) Latest() *Snapshot {
	if len(h) == 0 {
		return nil
	}
	return &h[0]
}

// Upsert records s. A snapshot of the same digest and status is counted up,
// updated and moved to the front; otherwise a new one is put there and the
// list is cut to [MaxHistory].
func (h *History) Upsert(s SnapshotUpdate) {
	at := metav1.NewTime(s.At.UTC().Truncate(time.Second))
	next := Snapshot{Digest: s.Digest, FirstReconciled: at, LastReconciledStatus: s.Status}
	rest := *h
	for i := range rest {
		if rest[i].Digest == s.Digest && rest[i].LastReconciledStatus == s.Status {
			next = rest[i]
			rest = append(append(make(History, 0, len(rest)), rest[:i]...), rest[i+1:]...)
			break
		}
	}
	next.LastReconciled = at
	next.LastReconciledDuration = Duration{Duration: s.Took}
	next.Metadata = maps.Clone(s.Metadata)
	next.TotalReconciliations += max(s.Runs, 1)
	*h = append(append(make(History, 0, MaxHistory), next), rest[:min(len(rest), MaxHistory-1)]...)
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package crash kills a process at every step that matters and checks what it
// left behind.
//
// # Concepts
//
// The code under test marks its steps with failpoints: calls that, in a build
// with the tag "failpoints", read the environment variable GITOPS_KIT_FAIL.
// [Each] runs one test function of the same binary, the helper, as a child:
// once to see which failpoints it hits, then once for each hit, killed there
// by SIGKILL, restarted without failpoints, and checked. [Dir] tells the helper
// that it is the child, and where to work.
//
//	func TestCrash(t *testing.T) {
//		crash.Each(t, crash.Options{Helper: "TestHelperWrite", Check: check})
//	}
//
//	func TestHelperWrite(t *testing.T) {
//		dir, ok := crash.Dir()
//		if !ok {
//			return // not the child
//		}
//		…
//	}
//
// # Errors
//
// They fail the test, naming the failpoint, the hit and the child's output.
//
// # Limits
//
// [MaxPairs] pairs of failpoint and hit; beyond, all failpoints are tried with
// their first, last and eight other hits, chosen by a seed.
//
// # Concurrency
//
// Runs are one after the other; nothing is shared between them.
package crash

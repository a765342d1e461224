// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package component runs each part of a control plane as a function that
// lasts until its context ends.
//
// The parts are the real ones: their exported option types are filled from
// flags, completed and run, without the commands around them, because each
// command installs signal handlers and logging for the whole process.
package component

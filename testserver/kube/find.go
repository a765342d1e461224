// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// ErrUnavailable says that there is no control plane program and that none
// can be built; an [*UnavailableError] says why and what to do.
var ErrUnavailable = errors.New("control plane unavailable")

// UnavailableError is the reason why there is no control plane program.
type UnavailableError struct {
	// Why is what is missing.
	Why string
	// Command, run in a shell, changes that. It may be "".
	Command string
	// Err is the cause; it may be nil.
	Err error
}

// Error names the reason and the command.
func (e *UnavailableError) Error() string {
	text := "no control plane: " + e.Why
	if e.Err != nil {
		text += ": " + firstLine(e.Err.Error())
	}
	if e.Command != "" {
		text += "; run: " + e.Command
	}
	return text
}

// Unwrap returns ErrUnavailable and the cause.
func (e *UnavailableError) Unwrap() []error { return []error{ErrUnavailable, e.Err} }

// Reason is a word for conditions and reports.
func (e *UnavailableError) Reason() string { return "ControlPlaneUnavailable" }

// Terminal reports whether trying again is pointless: it is not, after Command.
func (e *UnavailableError) Terminal() bool { return false }

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// FindOptions of [Find].
type FindOptions struct {
	// Progress receives a line every 15 s while the program is built or
	// another process builds it. nil: standard error.
	Progress io.Writer
	// Dir is where the search for a checkout of this repository begins. "":
	// the working directory.
	Dir string
}

// Find returns the path of the control plane program: the one that
// GITOPS_KIT_CONTROLPLANE names, else one that KUBEBUILDER_ASSETS or
// TEST_ASSET_KUBE_APISERVER leads to, else the one in the user's cache, which it builds if it
// is missing, unless GITOPS_KIT_CONTROLPLANE_BUILD=0. Building takes several
// minutes the first time. If ctx has a deadline, building ends a minute before
// it with an [*UnavailableError].
func Find(ctx context.Context, o FindOptions) (string, error) {
	if file := os.Getenv("GITOPS_KIT_CONTROLPLANE"); file != "" {
		if err := executable(file); err != nil {
			return "", fmt.Errorf("GITOPS_KIT_CONTROLPLANE: %w", err)
		}
		return filepath.Abs(file)
	}
	if file := fromAssets(); file != "" {
		return file, nil
	}
	if o.Progress == nil {
		o.Progress = os.Stderr
	}
	src, err := findSource(ctx, o.Dir)
	if err != nil {
		return "", err
	}
	return src.cached(ctx, o.Progress)
}

// fromAssets returns the program behind the links that "controlplane assets"
// writes. Assets of other make are not what this package can run.
func fromAssets() string {
	var candidates []string
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		candidates = append(candidates, filepath.Join(dir, "kube-apiserver"), filepath.Join(dir, "controlplane"))
	}
	if file := os.Getenv("TEST_ASSET_KUBE_APISERVER"); file != "" {
		candidates = append(candidates, file)
	}
	for _, file := range candidates {
		target, err := filepath.EvalSymlinks(file)
		if err == nil && filepath.Base(target) == programName && executable(target) == nil {
			return target
		}
	}
	return ""
}

const programName = "controlplane"

func executable(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if info.IsDir() || info.Mode()&0o111 == 0 {
		return fmt.Errorf("%q is not executable", file)
	}
	return nil
}

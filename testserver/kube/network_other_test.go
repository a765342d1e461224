// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package kube_test

import (
	"context"
	"errors"
	"io"
)

func offline(context.Context, io.Writer) (int, error) { return 1, errors.ErrUnsupported }

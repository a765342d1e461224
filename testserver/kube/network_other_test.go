// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package kube_test

import (
	"context"
	"errors"
	"io"
)

func offline(context.Context, io.Writer) error { return errors.ErrUnsupported }

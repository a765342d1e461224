// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package logger_test

import (
	"errors"
	"os"
	"time"

	"github.com/gitops-kit/sdk/runtime/logger"
)

func Example() {
	log := logger.New(logger.Options{Out: os.Stdout, Now: func() time.Time { return time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC) }})
	log.WithValues("namespace", "apps").Error(errors.New("line 1\u202e"), "build failed", "name", "web")
	// Output: {"level":"error","ts":"2026-11-25T09:00:00.000Z","msg":"build failed","error":"line 1\\u202e","namespace":"apps","name":"web"}
}

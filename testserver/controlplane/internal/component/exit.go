// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package component

import (
	"errors"
	"fmt"
	"runtime"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
)

// ErrExit says that a component wanted to end the process at once; its reason
// is in the log.
var ErrExit = errors.New("a component gave up")

// CatchExits makes fatal log messages of the Kubernetes components call fail
// and end their goroutine, not the process, so that whoever owns the process
// can stop the other components and remove files. Call it before anything runs.
func CatchExits(fail func(error)) {
	klog.OsExit = func(code int) {
		fail(fmt.Errorf("%w with exit code %d", ErrExit, code))
		runtime.Goexit()
	}
}

// etcdLogger drops all messages but those after which etcd would panic or end
// the process: these go to fail, and end their goroutine.
func etcdLogger(fail func(error)) *zap.Logger {
	hook := fatalHook(fail)
	return zap.New(zapcore.NewNopCore(), zap.WithFatalHook(hook), zap.WithPanicHook(hook))
}

// fatalHook ends the goroutine of a fatal message.
type fatalHook func(error)

// OnWrite implements zapcore.CheckWriteHook.
func (f fatalHook) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	err := errors.New(entry.Message)
	for _, field := range fields {
		if cause, ok := field.Interface.(error); ok && field.Type == zapcore.ErrorType {
			err = fmt.Errorf("%s: %w", entry.Message, cause)
		}
	}
	f(err)
	runtime.Goexit()
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/http"
	"net/http/pprof"
	"os"
	"runtime"
)

// Debug registers the profiling handlers under /debug/pprof/ and samples one in
// five contended mutexes. The command line is answered without arguments.
func Debug(mux *http.ServeMux) {
	runtime.SetMutexProfileFraction(5)
	for path, h := range DebugHandlers() {
		mux.Handle(path, h)
	}
}

// DebugHandlers returns the profiling handlers by path.
func DebugHandlers() map[string]http.Handler {
	return map[string]http.Handler{
		"/debug/pprof/":        http.HandlerFunc(pprof.Index),
		"/debug/pprof/profile": http.HandlerFunc(pprof.Profile),
		"/debug/pprof/symbol":  http.HandlerFunc(pprof.Symbol),
		"/debug/pprof/trace":   http.HandlerFunc(pprof.Trace),
		"/debug/pprof/cmdline": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = w.Write([]byte(os.Args[0])) //nolint:gosec // plain text, by its header
		}),
	}
}

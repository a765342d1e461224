// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package logger

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
)

// ErrLevel reports a level that is not trace, debug, info or error.
var ErrLevel = errors.New("want one of trace, debug, info, error")

// ErrEncoding reports an encoding that is not json or console.
var ErrEncoding = errors.New("want json or console")

// MaxLine is the greatest length of a line in bytes, newline included.
const MaxLine = 16 << 10

// Options of [New]. The zero value writes JSON of level info to stderr.
type Options struct {
	// Level is trace, debug, info or error; "" is info.
	Level string
	// Encoding is json or console; "" is json.
	Encoding string
	// Out is where lines go; nil is os.Stderr.
	Out io.Writer
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Flags is the flag group of the package.
type Flags struct {
	// Encoding is --log-encoding.
	Encoding string
	// Level is --log-level.
	Level string
}

// AddFlags registers the flags with their defaults.
func (f *Flags) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&f.Encoding, "log-encoding", "json", "Log encoding format. Can be 'json' or 'console'.")
	fs.StringVar(&f.Level, "log-level", "info", "Log verbosity level. Can be one of 'trace', 'debug', 'info', 'error'.")
}

// Validate returns [ErrLevel] or [ErrEncoding].
func (f *Flags) Validate() error {
	if _, err := verbosity(f.Level); err != nil {
		return fmt.Errorf("log level %q: %w", f.Level, err)
	}
	if f.Encoding != "" && f.Encoding != "json" && f.Encoding != "console" {
		return fmt.Errorf("log encoding %q: %w", f.Encoding, ErrEncoding)
	}
	return nil
}

// Options returns the options of [New].
func (f *Flags) Options() Options { return Options{Level: f.Level, Encoding: f.Encoding} }

// New returns a logger. An unknown level is info, an unknown encoding json.
func New(o Options) logr.Logger {
	if o.Out == nil {
		o.Out = os.Stderr
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	v, err := verbosity(o.Level)
	if err != nil {
		v = 0
	}
	return logr.New(&sink{out: &output{w: o.Out}, now: o.Now, max: v, console: o.Encoding == "console"})
}

// verbosity returns the greatest V that is written; -1 writes errors only.
func verbosity(level string) (int, error) {
	switch level {
	case "trace":
		return 127, nil
	case "debug":
		return 1, nil
	case "info", "":
		return 0, nil
	case "error":
		return -1, nil
	}
	return 0, ErrLevel
}

// output serialises lines.
type output struct {
	mu sync.Mutex
	w  io.Writer
}

func (o *output) line(b []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, _ = o.w.Write(b)
}

// sink is the logr.LogSink.
type sink struct {
	out     *output
	now     func() time.Time
	max     int
	console bool
	name    string
	values  []any
}

var _ logr.LogSink = (*sink)(nil)

// Init implements logr.LogSink.
func (s *sink) Init(logr.RuntimeInfo) {}

// Enabled implements logr.LogSink.
func (s *sink) Enabled(level int) bool { return level <= s.max }

// Info implements logr.LogSink.
func (s *sink) Info(level int, msg string, kv ...any) {
	if !s.Enabled(level) {
		return
	}
	name := "info"
	switch {
	case level == 1:
		name = "debug"
	case level > 1:
		name = "trace"
	}
	s.write(name, msg, nil, kv)
}

// Error implements logr.LogSink.
func (s *sink) Error(err error, msg string, kv ...any) { s.write("error", msg, err, kv) }

// WithValues implements logr.LogSink.
func (s *sink) WithValues(kv ...any) logr.LogSink {
	c := *s
	c.values = slices.Concat(s.values, kv)
	return &c
}

// WithName implements logr.LogSink.
func (s *sink) WithName(name string) logr.LogSink {
	c := *s
	if c.name != "" {
		c.name += "."
	}
	c.name += name
	return &c
}

func (s *sink) write(level, msg string, err error, kv []any) {
	r := record{level: level, ts: s.now(), name: s.name, msg: msg, err: err}
	r.add(s.values)
	r.add(kv)
	if s.console {
		s.out.line(r.console())
		return
	}
	s.out.line(r.json())
}

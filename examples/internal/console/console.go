// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package console prints the steps of a long-running demonstration: live on a
// terminal, one plain line for each step elsewhere.
package console

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Console writes steps and remembers how long each took. It is safe for
// concurrent use; steps do not nest.
type Console struct {
	out   io.Writer
	live  bool
	width int

	mu       sync.Mutex
	started  time.Time
	timeline []Entry
}

// Entry is one finished step.
type Entry struct {
	Section string
	Step    string
	At      time.Duration // since the first section
	Took    time.Duration
	Err     error
}

// New returns a console on out. It animates when out is a terminal.
func New(out io.Writer) *Console {
	c := &Console{out: out, width: 100, started: time.Now()}
	if f, ok := out.(*os.File); ok {
		if st, err := f.Stat(); err == nil && st.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb" && os.Getenv("NO_COLOR") == "" {
			c.live = true
		}
	}
	return c
}

// Live reports whether the output is a terminal.
func (c *Console) Live() bool { return c.live }

// Section starts a group of steps.
func (c *Console) Section(title string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timeline = append(c.timeline, Entry{Section: title, At: time.Since(c.started)})
	fmt.Fprintf(c.out, "\n%s\n", c.paint("1", title))
}

// Note prints indented lines below a step.
func (c *Console) Note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for line := range strings.SplitSeq(strings.TrimRight(fmt.Sprintf(format, args...), "\n"), "\n") {
		fmt.Fprintf(c.out, "      %s\n", c.paint("2", line))
	}
}

// Step runs fn, showing name and whatever fn reports through update while it
// runs, and the result when it ends.
func (c *Console) Step(name string, fn func(update func(format string, args ...any)) (string, error)) error {
	s := &step{console: c, name: name, begin: time.Now(), stop: make(chan struct{}), done: make(chan struct{})}
	if c.live {
		go s.animate()
	} else {
		close(s.done)
	}
	result, err := fn(s.update)
	close(s.stop)
	<-s.done
	took := time.Since(s.begin)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timeline = append(c.timeline, Entry{Step: name, At: s.begin.Sub(c.started), Took: took, Err: err})
	mark := c.paint("32", "ok")
	if err != nil {
		mark, result = c.paint("31", "no"), err.Error()
	}
	if c.live {
		fmt.Fprint(c.out, "\r\x1b[K")
	}
	fmt.Fprintf(c.out, "  %s  %-22s %s %s\n", mark, name, result, c.paint("2", "("+Round(took)+")"))
	return err
}

// Timeline prints every step with the time it began and how long it took.
func (c *Console) Timeline() {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(c.out, "\n%s\n", c.paint("1", "Timeline"))
	for _, e := range c.timeline {
		if e.Section != "" {
			fmt.Fprintf(c.out, "  %8s  %s\n", Round(e.At), e.Section)
			continue
		}
		fmt.Fprintf(c.out, "  %8s    %-24s %8s\n", Round(e.At), e.Step, Round(e.Took))
	}
}

// Printf writes text as it is.
func (c *Console) Printf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(c.out, format, args...)
}

// Entries returns the finished steps, sections left out.
func (c *Console) Entries() []Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Entry
	for _, e := range c.timeline {
		if e.Step != "" {
			out = append(out, e)
		}
	}
	return out
}

// Round shows a duration with a precision that fits its size.
func Round(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.2fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}

func (c *Console) paint(code, s string) string {
	if !c.live {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

type step struct {
	console *Console
	name    string
	begin   time.Time
	stop    chan struct{}
	done    chan struct{}

	mu   sync.Mutex
	text string
}

func (s *step) update(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = fmt.Sprintf(format, args...)
}

func (s *step) animate() {
	defer close(s.done)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		s.mu.Lock()
		text := s.text
		s.mu.Unlock()
		line := fmt.Sprintf("  %s   %-22s %s (%s)", string([]rune(`|/-\`)[i%4]), s.name, text, Round(time.Since(s.begin)))
		for utf8.RuneCountInString(line) > s.console.width {
			_, n := utf8.DecodeLastRuneInString(line)
			line = line[:len(line)-n]
		}
		s.console.mu.Lock()
		fmt.Fprintf(s.console.out, "\r\x1b[K%s", line)
		s.console.mu.Unlock()
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
	}
}

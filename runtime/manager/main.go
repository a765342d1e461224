// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
)

// Main parses the flags, runs the controller until SIGTERM or SIGINT, and
// returns the exit code: 0 after a graceful end, 1 after an error or a second
// signal. Call os.Exit with it.
func Main(o Options) int { return Combined(o) }

// Combined is [Main] for several controllers in one process. Which ones run is
// said by --controllers, or by the base name of the program if it is the name
// of one of them; otherwise all do.
func Combined(all ...Options) int {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // the root of the program
	defer cancel()
	code := make(chan int, 1)
	go func() { code <- start(ctx, true, all) }()
	for range 2 {
		select {
		case c := <-code:
			return c
		case <-signals:
			cancel()
		}
	}
	return 1
}

// Run is [Combined] until ctx is done, for tests and for programs that are more
// than this: it handles no signals and leaves the process-wide logger of klog
// alone, which must not be replaced while anything uses it.
func Run(ctx context.Context, all ...Options) int { return start(ctx, false, all) }

// start runs the controllers; own says that the process is theirs alone.
func start(ctx context.Context, own bool, all []Options) int {
	if len(all) == 0 {
		return 1
	}
	stderr := io.Writer(os.Stderr)
	if all[0].Stderr != nil {
		stderr = all[0].Stderr
	}
	boots, err := prepare(all)
	if errors.Is(err, pflag.ErrHelp) {
		return 0
	}
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			_, _ = fmt.Fprintln(stderr, line)
		}
		return 1
	}
	p, err := newProcess(boots, own)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, err)
		return 1
	}
	if err := p.run(ctx); err != nil {
		p.log.Error(err, "process ends")
		return 1
	}
	return 0
}

// prepare selects controllers, parses and validates. Nothing is contacted.
func prepare(all []Options) ([]*boot, error) {
	args := all[0].Args
	if args == nil {
		args = os.Args[1:]
	}
	all, err := choose(all, args)
	if err != nil {
		return nil, err
	}
	var boots []*boot
	for _, o := range all {
		b, err := newBoot(o)
		if err != nil {
			return nil, err
		}
		boots = append(boots, b)
	}
	if err := parse(args, boots); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			help(boots)
		}
		return nil, err
	}
	var errs []error
	for _, b := range boots {
		errs = append(errs, b.finish())
	}
	return boots, errors.Join(errs...)
}

// choose applies --controllers and the name of the program.
func choose(all []Options, args []string) ([]Options, error) {
	var names []string
	for i, a := range args {
		if v, ok := strings.CutPrefix(a, "--controllers="); ok {
			names = append(names, strings.Split(v, ",")...)
		} else if a == "--controllers" && i+1 < len(args) {
			names = append(names, strings.Split(args[i+1], ",")...)
		}
	}
	if len(names) == 0 {
		base := filepath.Base(os.Args[0])
		for _, o := range all {
			if o.Name == base {
				return []Options{o}, nil
			}
		}
		return all, nil
	}
	var out []Options
	for _, n := range names {
		i := slices.IndexFunc(all, func(o Options) bool { return o.Name == n || o.short() == n })
		if i < 0 {
			return nil, fmt.Errorf("controller %q is not part of this program", n)
		}
		if !slices.ContainsFunc(out, func(o Options) bool { return o.Name == all[i].Name }) {
			out = append(out, all[i])
		}
	}
	return out, nil
}

func help(boots []*boot) {
	for _, b := range boots {
		_, _ = fmt.Fprintf(b.o.Stderr, "Usage of %s:\n%s", b.o.Name, b.fs.FlagUsages())
	}
}

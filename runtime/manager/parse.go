// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// given is one flag of the command line, in order.
type given struct{ name, value string }

// recorder is a flag value that notes what it is set to.
type recorder struct {
	name string
	typ  string
	out  *[]given
}

// String implements pflag.Value.
func (r recorder) String() string { return "" }

// Set implements pflag.Value.
func (r recorder) Set(v string) error {
	*r.out = append(*r.out, given{r.name, v})
	return nil
}

// Type implements pflag.Value.
func (r recorder) Type() string { return r.typ }

// parse reads args into the flags of all controllers. With one controller its
// flags are unprefixed; with several, "--<controller>.<flag>" is for that one and
// beats the unprefixed form, which is for all that have the flag.
func parse(args []string, boots []*boot) error {
	if len(boots) == 1 {
		b := boots[0]
		if err := b.fs.Parse(args); err != nil {
			return err
		}
		return noArguments(b.fs)
	}
	var list []given
	union := pflag.NewFlagSet("", pflag.ContinueOnError)
	union.SetOutput(discard{})
	for _, b := range boots {
		b.fs.VisitAll(func(f *pflag.Flag) {
			for _, name := range []string{f.Name, b.o.short() + "." + f.Name} {
				if union.Lookup(name) == nil {
					union.AddFlag(&pflag.Flag{
						Name: name, Usage: f.Usage, NoOptDefVal: f.NoOptDefVal,
						Value: recorder{name: name, typ: f.Value.Type(), out: &list},
					})
				}
			}
		})
	}
	if err := union.Parse(args); err != nil {
		return err
	}
	if err := noArguments(union); err != nil {
		return err
	}
	for _, prefixed := range []bool{false, true} {
		for _, g := range list {
			if err := apply(g, boots, prefixed); err != nil {
				return err
			}
		}
	}
	return nil
}

// apply sets one flag of the command line where it belongs.
func apply(g given, boots []*boot, prefixed bool) error {
	for _, b := range boots {
		name, own := strings.CutPrefix(g.name, b.o.short()+".")
		if own != prefixed || b.fs.Lookup(name) == nil || !own && slices.Contains(b.o.Prefixed, name) {
			continue
		}
		if err := b.fs.Set(name, g.value); err != nil {
			return fmt.Errorf("invalid argument for --%s: %w", g.name, err)
		}
	}
	return nil
}

func noArguments(fs *pflag.FlagSet) error {
	if fs.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", fs.Arg(0))
	}
	return nil
}

// discard is a writer for usage texts that are printed elsewhere.
type discard struct{}

// Write implements io.Writer.
func (discard) Write(p []byte) (int, error) { return len(p), nil }

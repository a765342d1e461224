// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ignore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sort"
	"strings"
)

// Parse reads the patterns of one ignore file. They apply below dir, "" for
// the root. Comments and empty lines are left out; CRLF line ends and a
// UTF-8 byte order mark are accepted. Reading stops at the limits, with a
// [*LimitError].
func Parse(r io.Reader, dir string, o Options) ([]Pattern, error) {
	p, _, err := parse(r, dir, o, 0)
	return p, err
}

// parse is Parse with the bytes that other files already used.
func parse(r io.Reader, dir string, o Options, used int64) ([]Pattern, int64, error) {
	limit := o.Limits.bytes()
	budget := limit - used
	readable := budget
	if readable < 1<<62 {
		readable++
	}
	data, err := io.ReadAll(io.LimitReader(r, readable)) //nolint:forbidigo // bounded by the limit
	if err != nil {
		return nil, used, fmt.Errorf("read ignore file %q: %w", o.File, err)
	}
	if int64(len(data)) > budget {
		return nil, used, &LimitError{Name: limitBytes, Max: limit, Got: used + int64(len(data))}
	}
	used += int64(len(data))
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var out []Pattern
	for n := 1; len(data) > 0; n++ {
		line, rest, ended := bytes.Cut(data, []byte{'\n'})
		data = rest
		if ended || len(rest) == 0 {
			line = bytes.TrimSuffix(line, []byte{'\r'})
		}
		if len(line) > maxLine {
			return nil, used, &LimitError{Name: limitLine, Max: maxLine, Got: int64(len(line))}
		}
		text := trimSpaces(string(line))
		if text == "" || text[0] == '#' {
			continue
		}
		out = append(out, Pattern{File: o.File, Line: n, Text: text, Dir: strings.Trim(dir, "/")})
		if max := o.Limits.patterns(); int64(len(out)) > max {
			return nil, used, &LimitError{Name: limitPatterns, Max: max, Got: int64(len(out))}
		}
	}
	return out, used, nil
}

// trimSpaces drops trailing spaces that no backslash protects.
func trimSpaces(s string) string {
	first := -1
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case ' ':
			if first < 0 {
				first = i
			}
		case '\\':
			i++
			if i == len(s) {
				return s
			}
			first = -1
		default:
			first = -1
		}
	}
	if first >= 0 {
		return s[:first]
	}
	return s
}

// LoadOptions control [Load]. The zero value reads .sourceignore files.
type LoadOptions struct {
	// Names are the names of ignore files, in the order in which those of one
	// directory are read. Empty: ".sourceignore".
	Names []string
	// Prune holds further patterns of excluded directories that are not
	// entered. Those found on the way and ".git" always count.
	Prune []Pattern
	// Prefix is put in front of each file name that patterns report.
	Prefix string
	// Options are the limits and the rules by which directories are pruned.
	Options Options
}

// Load reads the ignore files of a tree, from the root down. Directories
// that are excluded by what was read before are not entered. A link or a
// directory of the name is no ignore file. No file at all gives an empty
// result. The limits hold for all files together.
func Load(tree fs.FS, o LoadOptions) ([]Pattern, error) {
	if len(o.Names) == 0 {
		o.Names = []string{".sourceignore"}
	}
	l := &loader{tree: tree, o: o}
	if err := l.dir("", 0); err != nil {
		return nil, err
	}
	return l.found, nil
}

type loader struct {
	tree  fs.FS
	o     LoadOptions
	found []Pattern
	used  int64
	walk  *Walker // over what was found so far
	known int
}

const maxLoadDepth = 1024

func (l *loader) dir(dir string, depth int) error {
	if depth > maxLoadDepth {
		return &LimitError{Name: limitDepth, Max: maxLoadDepth, Got: int64(depth)}
	}
	name := dir
	if name == "" {
		name = "."
	}
	entries, err := fs.ReadDir(l.tree, name)
	if err != nil {
		return fmt.Errorf("load ignore files: %w", err)
	}
	for _, want := range l.o.Names {
		at := sort.Search(len(entries), func(i int) bool { return entries[i].Name() >= want })
		if at < len(entries) && entries[at].Name() == want && entries[at].Type().IsRegular() {
			if err := l.file(dir, want); err != nil {
				return err
			}
		}
	}
	if l.walk == nil || l.known != len(l.found) {
		m, err := New(append(append([]Pattern(nil), l.o.Prune...), l.found...), l.o.Options)
		if err != nil {
			return err
		}
		l.walk, l.known = m.Walker(), len(l.found)
	}
	for _, e := range entries {
		if !e.IsDir() || e.Name() == ".git" {
			continue
		}
		sub := path.Join(dir, e.Name())
		if l.walk.Enter(sub) == Prune {
			continue
		}
		if err := l.dir(sub, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) file(dir, name string) error {
	full := path.Join(dir, name)
	f, err := l.tree.Open(full)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("load ignore files: %w", err)
	}
	defer f.Close() //nolint:errcheck // opened for reading
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return err
	}
	o := l.o.Options
	o.File = l.o.Prefix + full
	found, used, err := parse(f, dir, o, l.used)
	if err != nil {
		return err
	}
	l.used = used
	l.found = append(l.found, found...)
	if limit := o.Limits.patterns(); int64(len(l.found)) > limit {
		return &LimitError{Name: limitPatterns, Max: limit, Got: int64(len(l.found))}
	}
	return nil
}

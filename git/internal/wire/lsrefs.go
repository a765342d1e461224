// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"fmt"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/limits"
	"github.com/gitops-kit/sdk/git/internal/pktline"
)

// command begins a version 2 request.
func command(name, agent string, caps Caps) []byte {
	b := pktline.Append(nil, "command="+name+"\n")
	if caps.Has("agent") && agent != "" {
		b = pktline.Append(b, "agent="+agent+"\n")
	}
	if f, ok := caps["object-format"]; ok {
		b = pktline.Append(b, "object-format="+f+"\n")
	}
	return pktline.AppendDelim(b)
}

// LsRefs is a version 2 listing of the references with any of the prefixes;
// none means all.
func LsRefs(agent string, caps Caps, prefixes []string) []byte {
	b := command("ls-refs", agent, caps)
	b = pktline.Append(b, "peel\n")
	b = pktline.Append(b, "symrefs\n")
	if caps.HasIn("ls-refs", "unborn") {
		b = pktline.Append(b, "unborn\n")
	}
	for _, p := range prefixes {
		b = pktline.Append(b, "ref-prefix "+p+"\n")
	}
	return pktline.AppendFlush(b)
}

// Listing is the answer to LsRefs.
type Listing struct {
	Refs    []Ref
	Dropped Dropped
	// Any is set when the server listed anything, kept or not.
	Any bool
}

// ReadLsRefs reads the answer to LsRefs.
func ReadLsRefs(pr *pktline.Reader, f driver.Format, keep Filter, lim Limits) (*Listing, error) {
	l := &Listing{}
	began := pr.Consumed()
	for {
		kind, line, err := pr.Next()
		if err != nil {
			return nil, unexpected(err)
		}
		if err := limits.Check("git-advertisement", lim.Advertisement, pr.Consumed()-began); err != nil {
			return nil, err
		}
		switch {
		case kind == pktline.Flush:
			return l, l.checkSymrefs(lim.Symref)
		case kind != pktline.Data:
			return nil, fmt.Errorf("delimiter among references: %w", ErrProtocol)
		case bytes.HasPrefix(line, []byte("ERR ")):
			return nil, Remote(line[4:])
		}
		if err := l.line(pktline.TrimLF(line), f, keep); err != nil {
			return nil, err
		}
		if err := limits.Check("git-refs", lim.Refs, int64(len(l.Refs))); err != nil {
			return nil, err
		}
	}
}

func (l *Listing) checkSymrefs(most int64) error {
	target := map[string]string{}
	for i := range l.Refs {
		if r := &l.Refs[i]; r.Target != "" {
			target[r.Name] = r.Target
		}
	}
	return checkSymrefs(target, most)
}

func (l *Listing) line(line []byte, f driver.Format, keep Filter) error {
	hex, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok {
		return fmt.Errorf("malformed reference line: %w", ErrProtocol)
	}
	name, attrs, _ := bytes.Cut(rest, []byte{' '})
	unborn := string(hex) == "unborn"
	l.Any = l.Any || !unborn
	if !acceptable(name) {
		l.Dropped.add(name)
		return nil
	}
	if !keep(name) {
		return nil
	}
	r := Ref{Name: string(name), Unborn: unborn}
	if !unborn {
		id, err := driver.ParseHash(string(hex))
		if err != nil || id.Format() != f {
			return fmt.Errorf("malformed reference line: %w", ErrProtocol)
		}
		r.ID = id
	}
	for _, a := range bytes.Fields(attrs) {
		if t, ok := bytes.CutPrefix(a, []byte("symref-target:")); ok {
			r.Target = string(t)
		} else if t, ok := bytes.CutPrefix(a, []byte("peeled:")); ok {
			id, err := driver.ParseHash(string(t))
			if err != nil || id.Format() != f {
				return fmt.Errorf("malformed reference line: %w", ErrProtocol)
			}
			r.Peeled = id
		}
	}
	l.Refs = append(l.Refs, r)
	return nil
}

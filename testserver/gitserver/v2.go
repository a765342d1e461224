// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver

import (
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
)

// capabilitiesV2 writes the capability advertisement of protocol v2.
func (s *session) capabilitiesV2() {
	c := s.repo.snapshot().opts.Capabilities
	s.out.linef("version 2")
	s.out.linef("agent=%s", agent)
	if c.NoUnborn {
		s.out.linef("ls-refs")
	} else {
		s.out.linef("ls-refs=unborn")
	}
	var f []string
	if !c.NoShallow {
		f = append(f, "shallow")
	}
	if !c.NoWaitForDone {
		f = append(f, "wait-for-done")
	}
	if !c.NoFilter {
		f = append(f, "filter")
	}
	if c.RefInWant {
		f = append(f, "ref-in-want")
	}
	if len(f) > 0 {
		s.out.linef("fetch=%s", strings.Join(f, " "))
	} else {
		s.out.linef("fetch")
	}
	if !c.NoServerOption {
		s.out.linef("server-option")
	}
	if !c.NoObjectFormat {
		s.out.linef("object-format=%s", s.repo.format)
	}
	if !c.NoObjectInfo {
		s.out.linef("object-info")
	}
	s.out.flushPkt()
}

// command is one request of protocol v2.
type command struct {
	name string
	caps map[string]string
	args []string
}

func (s *session) readCommand() (*command, error) {
	c := &command{caps: map[string]string{}}
	args := false
	for first := true; ; first = false {
		line, kind, err := readLine(s.in)
		if err != nil {
			return nil, err
		}
		switch {
		case kind == pktFlush:
			if first {
				return nil, io.EOF
			}
			return c, nil
		case kind == pktDelim:
			args = true
		case kind == pktEnd:
			return nil, fatalf("unexpected response end")
		case args:
			c.args = append(c.args, line)
		case strings.HasPrefix(line, "command="):
			c.name = strings.TrimPrefix(line, "command=")
		default:
			k, v, _ := strings.Cut(line, "=")
			c.caps[k] = v
		}
	}
}

// serveV2 answers commands until the client hangs up; over HTTP there is one a
// request.
func (s *session) serveV2() error {
	for {
		c, err := s.readCommand()
		if errors.Is(err, io.EOF) {
			return s.out.send()
		}
		if err != nil {
			return s.finish(err)
		}
		if f, ok := c.caps["object-format"]; ok && f != string(s.repo.format) {
			return s.finish(fatalf("mismatched object format: server %s; client %s", s.repo.format, f))
		} else if !ok && s.repo.format != SHA1 {
			return s.finish(fatalf("mismatched object format: server %s; client sha1", s.repo.format))
		}
		switch c.name {
		case "ls-refs":
			err = s.lsRefs(c.args)
		case "fetch":
			err = s.fetchV2(c.args)
		case "object-info":
			err = s.objectInfo(c.args)
		default:
			err = fatalf("invalid command '%s'", c.name)
		}
		if err := s.finish(err); err != nil || s.stateless {
			return err
		}
	}
}

func (s *session) lsRefs(args []string) error {
	var peel, symrefs, unborn bool
	var prefixes []string
	for _, a := range args {
		switch {
		case a == "peel":
			peel = true
		case a == "symrefs":
			symrefs = true
		case a == "unborn":
			unborn = !s.repo.snapshot().opts.Capabilities.NoUnborn
		case strings.HasPrefix(a, "ref-prefix "):
			prefixes = append(prefixes, strings.TrimPrefix(a, "ref-prefix "))
		default:
			return fatalf("unexpected line: '%s'", a)
		}
	}
	wanted := func(name string) bool {
		return len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
	}
	snap := s.repo.snapshot()
	s.repo.count(func(st *Stats) { st.Listings++; st.Prefixes = append(st.Prefixes, prefixes...) })
	if wanted("HEAD") {
		target := ""
		if symrefs && strings.HasPrefix(snap.head, "refs/") && !snap.opts.Capabilities.NoSymref {
			target = " symref-target:" + snap.head
		}
		if id := snap.headID(); id != "" {
			s.out.linef("%s HEAD%s", id, target)
		} else if unborn {
			s.out.linef("unborn HEAD%s", target)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(snap.refs)) {
		if !wanted(name) || snap.opts.hidden(name) {
			continue
		}
		id := snap.refs[name]
		extra := ""
		if o := s.repo.store.raw(id); peel && o != nil && o.typ == TagObject {
			extra = " peeled:" + s.repo.store.peel(id).String()
		}
		s.out.linef("%s %s%s", id, name, extra)
	}
	for _, raw := range snap.opts.RawRefs {
		s.out.linef("%s %s", raw.ID, raw.Name)
	}
	if snap.opts.EndlessRefs {
		return s.endlessRefs()
	}
	s.out.flushPkt()
	if f := snap.opts.BetweenListAndFetch; f != nil {
		if err := s.out.send(); err != nil {
			return err
		}
		f(s.repo)
	}
	return nil
}

func (s *session) fetchV2(args []string) error {
	sel := &selection{shallow: map[Hash]bool{}}
	s.caps = map[string]string{}
	done, wait := false, false
	wantedRefs := map[string]Hash{}
	snap := s.repo.snapshot()
	for _, a := range args {
		k, v, _ := strings.Cut(a, " ")
		switch k {
		case "want":
			sel.wants = append(sel.wants, Hash(v))
		case "want-ref":
			id := snap.refs[v]
			if v == "HEAD" {
				id = snap.headID()
			}
			if !snap.opts.Capabilities.RefInWant || id == "" {
				return fatalf("unknown ref %s", v)
			}
			wantedRefs[v] = id
			sel.wants = append(sel.wants, id)
		case "have":
			s.repo.count(func(st *Stats) { st.Haves++ })
			if s.repo.store.raw(Hash(v)) != nil {
				sel.haves = append(sel.haves, Hash(v))
			} else {
				sel.haves = append(sel.haves, "")
			}
		case "done":
			done = true
		case "wait-for-done":
			wait = true
		case "thin-pack", "no-progress", "ofs-delta":
			s.caps[k] = ""
		case "include-tag":
			sel.includeTag = true
		case "deepen-relative":
			sel.relative = true
		default:
			if err := s.selectArg(sel, a); err != nil {
				return err
			}
		}
	}
	s.repo.count(func(st *Stats) { st.Wants += len(sel.wants) })
	if len(sel.wants) == 0 {
		return s.out.send()
	}
	if err := s.checkWants(sel.wants); err != nil {
		return err
	}
	asked := len(sel.haves) > 0
	sel.haves = slices.DeleteFunc(sel.haves, func(h Hash) bool { return h == "" })
	if asked && !done {
		if !s.acknowledge(sel, wait) {
			s.out.flushPkt()
			return nil
		}
		s.out.delim()
	}
	return s.sectionsV2(sel, wantedRefs)
}

// acknowledge writes the acknowledgments section and reports whether the pack
// follows.
func (s *session) acknowledge(sel *selection, wait bool) bool {
	s.out.linef("acknowledgments")
	if len(sel.haves) == 0 {
		s.out.linef("NAK")
	}
	for _, h := range sel.haves {
		s.out.linef("ACK %s", h)
	}
	if !wait && s.enough(sel) {
		s.out.linef("ready")
		return true
	}
	return false
}

func (s *session) sectionsV2(sel *selection, wantedRefs map[string]Hash) error {
	b, err := s.repo.bound(s.repo.store, sel)
	if err != nil {
		return fatalf("upload-pack: %v", err)
	}
	if sel.deepens() {
		s.out.linef("shallow-info")
		s.writeShallow(b, sel)
		s.out.delim()
	}
	if len(wantedRefs) > 0 {
		s.out.linef("wanted-refs")
		for _, name := range slices.Sorted(maps.Keys(wantedRefs)) {
			s.out.linef("%s %s", wantedRefs[name], name)
		}
		s.out.delim()
	}
	s.out.linef("packfile")
	if err := s.pack(band{s.out, 1, band64k}, sel, b); err != nil {
		if f, ok := errors.AsType[*fatalError](err); ok {
			_, _ = band{s.out, 3, band64k}.Write([]byte(f.msg))
			s.out.flushPkt()
			return nil
		}
		return err
	}
	s.out.flushPkt()
	return nil
}

func (s *session) objectInfo(args []string) error {
	if s.repo.snapshot().opts.Capabilities.NoObjectInfo {
		return fatalf("invalid command 'object-info'")
	}
	size := slices.Contains(args, "size")
	if size {
		s.out.linef("size")
	}
	for _, a := range args {
		id, ok := strings.CutPrefix(a, "oid ")
		if !ok {
			continue
		}
		o := s.repo.store.raw(Hash(id))
		switch {
		case o == nil:
			s.out.linef("%s ", id)
		case size:
			s.out.linef("%s %d", id, o.size)
		default:
			s.out.linef("%s", id)
		}
	}
	s.out.flushPkt()
	return nil
}

// endlessRefs advertises references until the client leaves.
func (s *session) endlessRefs() error {
	id := s.repo.snapshot().headID()
	if id == "" {
		id = s.repo.format.zero()
	}
	for i := 0; s.ctx.Err() == nil; i++ {
		s.out.linef("%s refs/heads/endless-%012d", id, i)
		if i%1000 == 0 {
			if err := s.out.send(); err != nil {
				return err
			}
		}
	}
	return s.ctx.Err()
}

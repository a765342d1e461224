// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// session is one run of upload-pack or receive-pack.
type session struct {
	ctx       context.Context //nolint:containedctx // lives as long as one request
	repo      *Repo
	in        *bufio.Reader
	out       *pktWriter
	stateless bool
	version   int
	user      string
	caps      map[string]string
	last      Hash
}

// snapshot is a consistent view of the references.
type snapshot struct {
	refs map[string]Hash
	head string
	opts RepoOptions
}

func (s snapshot) headID() Hash {
	if strings.HasPrefix(s.head, "refs/") {
		return s.refs[s.head]
	}
	return Hash(s.head)
}

func (r *Repo) snapshot() snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return snapshot{refs: maps.Clone(r.refs), head: r.head, opts: r.opts}
}

// fatalError is sent to the client as an ERR packet.
type fatalError struct{ msg string }

func (e *fatalError) Error() string { return e.msg }

func fatalf(f string, a ...any) error { return &fatalError{fmt.Sprintf(f, a...)} }

// finish reports a fatal error to the client and sends what is buffered.
func (s *session) finish(err error) error {
	if f, ok := errors.AsType[*fatalError](err); ok {
		s.out.linef("ERR %s", f.msg)
	}
	return errors.Join(err, s.out.send())
}

// advertise writes the reference advertisement of protocol v0 or v1.
func (s *session) advertise(caps string) {
	snap := s.repo.snapshot()
	s.repo.count(func(st *Stats) { st.Listings++ })
	if s.version == 1 {
		s.out.linef("version 1")
	}
	first := true
	line := func(id Hash, name string) {
		if first {
			s.out.data(fmt.Appendf(nil, "%s %s\x00%s\n", id, name, caps))
			first = false
			return
		}
		s.out.linef("%s %s", id, name)
	}
	if id := snap.headID(); id != "" && !strings.Contains(caps, "report-status") {
		line(id, "HEAD")
	}
	for _, name := range slices.Sorted(maps.Keys(snap.refs)) {
		if snap.opts.hidden(name) {
			continue
		}
		id := snap.refs[name]
		line(id, name)
		if o := s.repo.store.raw(id); o != nil && o.typ == TagObject && !strings.Contains(caps, "report-status") {
			line(s.repo.store.peel(id), name+"^{}")
		}
	}
	for _, raw := range snap.opts.RawRefs {
		line(raw.ID, raw.Name)
	}
	if first {
		line(s.repo.format.zero(), "capabilities^{}")
	}
	if snap.opts.EndlessRefs {
		_ = s.endlessRefs()
		return
	}
	s.out.flushPkt()
}

func (s *session) uploadCaps() string {
	c := s.repo.snapshot().opts.Capabilities
	var l []string
	add := func(off bool, name string) {
		if !off {
			l = append(l, name)
		}
	}
	add(c.NoMultiAck, "multi_ack")
	add(c.NoThinPack, "thin-pack")
	add(c.NoSideBand, "side-band")
	add(c.NoSideBand || c.NoSideBand64k, "side-band-64k")
	add(c.NoOfsDelta, "ofs-delta")
	add(c.NoShallow, "shallow")
	add(c.NoShallow || c.NoDeepenSince, "deepen-since")
	add(c.NoShallow || c.NoDeepenSince, "deepen-not")
	add(c.NoShallow || c.NoDeepenRelative, "deepen-relative")
	add(c.NoProgress, "no-progress")
	add(c.NoIncludeTag, "include-tag")
	add(c.NoMultiAck || c.MultiAckOnly, "multi_ack_detailed")
	add(!c.AllowTipSHA1, "allow-tip-sha1-in-want")
	add(!c.AllowReachableSHA1, "allow-reachable-sha1-in-want")
	add(c.NoFilter, "filter")
	if s.stateless {
		add(c.NoMultiAck || c.MultiAckOnly || c.NoNoDone, "no-done")
	}
	if snap := s.repo.snapshot(); strings.HasPrefix(snap.head, "refs/") && snap.headID() != "" && !c.NoSymref {
		l = append(l, "symref=HEAD:"+snap.head)
	}
	add(c.NoObjectFormat, "object-format="+string(s.repo.format))
	l = append(l, "agent="+agent)
	return strings.Join(l, " ")
}

// upload serves upload-pack in protocol v0 or v1 after the advertisement.
func (s *session) upload() error {
	sel, err := s.readWants()
	if err != nil || len(sel.wants) == 0 {
		return s.finish(err)
	}
	if err := s.checkWants(sel.wants); err != nil {
		return s.finish(err)
	}
	b, err := s.repo.bound(s.repo.store, sel)
	if err != nil {
		return s.finish(err)
	}
	if sel.deepens() {
		s.writeShallow(b, sel)
		s.out.flushPkt()
		if err := s.out.send(); err != nil {
			return err
		}
	}
	ready, err := s.negotiate(sel)
	if err != nil || !ready {
		return s.finish(err)
	}
	return s.finish(s.sendPack(sel, b))
}

func (s *session) writeShallow(b boundary, sel *selection) {
	for _, id := range b.order {
		if b.shallow[id] && !sel.shallow[id] {
			s.out.linef("shallow %s", id)
		}
	}
	for _, id := range b.unshallow {
		s.out.linef("unshallow %s", id)
	}
}

// readWants reads the first part of a v0 request. No wants is no error.
func (s *session) readWants() (*selection, error) {
	sel := &selection{shallow: map[Hash]bool{}}
	for {
		line, kind, err := readLine(s.in)
		if errors.Is(err, io.EOF) && len(sel.wants) == 0 {
			return sel, nil
		}
		if err != nil {
			return nil, err
		}
		if kind == pktFlush {
			break
		}
		if id, ok := strings.CutPrefix(line, "want "); ok {
			id, caps, _ := strings.Cut(id, " ")
			if s.caps == nil {
				s.caps = parseCaps(caps)
			}
			sel.wants = append(sel.wants, Hash(id))
			continue
		}
		if err := s.selectArg(sel, line); err != nil {
			return nil, err
		}
	}
	_, sel.includeTag = s.caps["include-tag"]
	_, sel.relative = s.caps["deepen-relative"]
	s.repo.count(func(st *Stats) { st.Wants += len(sel.wants) })
	return sel, nil
}

// selectArg reads the arguments that v0 and v2 have in common.
func (s *session) selectArg(sel *selection, line string) error {
	c := s.repo.snapshot().opts.Capabilities
	k, v, _ := strings.Cut(line, " ")
	if c.NoShallow && (k == "shallow" || strings.HasPrefix(k, "deepen")) {
		return fatalf("upload-pack: shallow is not supported")
	}
	switch k {
	case "shallow":
		sel.shallow[Hash(v)] = true
	case "deepen":
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return fatalf("upload-pack: invalid deepen %q", v)
		}
		sel.depth = n
	case "deepen-since":
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return fatalf("upload-pack: invalid deepen-since %q", v)
		}
		sel.since = n
	case "deepen-not":
		s.repo.mu.Lock()
		id, err := s.repo.resolve(v)
		s.repo.mu.Unlock()
		if err != nil {
			return fatalf("upload-pack: invalid deepen-not %q", v)
		}
		sel.not = append(sel.not, id)
	case "filter":
		if c.NoFilter {
			return fatalf("upload-pack: filter is not supported")
		}
		f, err := parseFilter(v)
		if err != nil {
			return fatalf("upload-pack: invalid filter-spec %q", v)
		}
		sel.filter = f
		s.repo.count(func(st *Stats) { st.Filters = append(st.Filters, v) })
	default:
		return fatalf("upload-pack: protocol error, got %q", line)
	}
	return nil
}

func parseCaps(s string) map[string]string {
	out := map[string]string{}
	for f := range strings.FieldsSeq(s) {
		k, v, _ := strings.Cut(f, "=")
		out[k] = v
	}
	return out
}

// checkWants refuses ids that this protocol version may not ask for.
func (s *session) checkWants(wants []Hash) error {
	snap := s.repo.snapshot()
	tips := map[Hash]bool{}
	for name, id := range snap.refs {
		if !snap.opts.hidden(name) || snap.opts.Capabilities.AllowTipSHA1 {
			tips[id] = true
			tips[s.repo.store.peel(id)] = true
		}
	}
	tips[snap.headID()] = true
	for _, raw := range snap.opts.RawRefs {
		tips[raw.ID] = true
	}
	var reach map[Hash]bool
	for _, id := range wants {
		if s.repo.store.raw(id) == nil && snap.opts.ServePack == nil {
			return fatalf("upload-pack: not our ref %s", id)
		}
		if tips[id] || (s.version == 2 && !snap.opts.Capabilities.NoAnySHA1InV2) {
			continue
		}
		if snap.opts.Capabilities.AllowReachableSHA1 {
			if reach == nil {
				reach = map[Hash]bool{}
				if err := walkCommits(s.repo.store, slices.Collect(maps.Keys(tips)), nil, reach); err != nil {
					return err
				}
			}
			if reach[id] {
				continue
			}
		}
		return fatalf("upload-pack: not our ref %s", id)
	}
	return nil
}

// enough reports whether each want has an ancestor among the haves.
func (s *session) enough(sel *selection) bool {
	if len(sel.haves) == 0 {
		return false
	}
	have := map[Hash]bool{}
	for _, h := range sel.haves {
		have[h] = true
	}
	for _, w := range sel.wants {
		found := false
		seen := map[Hash]bool{}
		_ = walkCommits(s.repo.store, []Hash{w}, func(id Hash) bool { found = found || have[id]; return found }, seen)
		if !found {
			return false
		}
	}
	return true
}

// negotiate exchanges have lines. It reports false when a stateless request
// ends before the client is done.
func (s *session) negotiate(sel *selection) (bool, error) {
	_, detailed := s.caps["multi_ack_detailed"]
	_, multi := s.caps["multi_ack"]
	_, noDone := s.caps["no-done"]
	multi = multi || detailed
	gotCommon, gotOther, sentReady := false, false, false
	for {
		line, kind, err := readLine(s.in)
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if kind == pktFlush {
			if detailed && gotCommon && !gotOther && s.enough(sel) {
				sentReady = true
				s.out.linef("ACK %s ready", s.last)
			}
			if len(sel.haves) == 0 || multi {
				s.out.linef("NAK")
			}
			if noDone && sentReady {
				s.out.linef("ACK %s", s.last)
				return true, nil
			}
			if s.stateless {
				return false, nil
			}
			if err := s.out.send(); err != nil {
				return false, err
			}
			gotCommon, gotOther = false, false
			continue
		}
		if line == "done" {
			switch {
			case len(sel.haves) == 0:
				s.out.linef("NAK")
			case multi:
				s.out.linef("ACK %s", s.last)
			}
			return true, nil
		}
		id, ok := strings.CutPrefix(line, "have ")
		if !ok {
			return false, fatalf("upload-pack: expected have or done, got %q", line)
		}
		s.repo.count(func(st *Stats) { st.Haves++ })
		if s.have(sel, Hash(id), multi, detailed) {
			gotCommon = true
			continue
		}
		gotOther = true
		if multi && s.enough(sel) {
			word := "continue"
			if detailed {
				word, sentReady = "ready", true
			}
			s.out.linef("ACK %s %s", id, word)
		}
	}
}

// have handles one have line and reports whether the object is common.
func (s *session) have(sel *selection, id Hash, multi, detailed bool) bool {
	if s.repo.store.raw(id) == nil {
		return false
	}
	s.last = id
	sel.haves = append(sel.haves, id)
	switch {
	case detailed:
		s.out.linef("ACK %s common", id)
	case multi:
		s.out.linef("ACK %s continue", id)
	case len(sel.haves) == 1:
		s.out.linef("ACK %s", id)
	}
	return true
}

// sendPack writes the pack in the side band the client asked for.
func (s *session) sendPack(sel *selection, b boundary) error {
	var w io.Writer = s.out.w
	if _, ok := s.caps["side-band-64k"]; ok {
		w = band{s.out, 1, band64k}
	} else if _, ok := s.caps["side-band"]; ok {
		w = band{s.out, 1, band1k}
	}
	if err := s.pack(w, sel, b); err != nil {
		return err
	}
	if _, ok := w.(band); ok {
		s.out.flushPkt()
	}
	return nil
}

// pack writes the pack itself, or what the repository serves instead of it.
func (s *session) pack(w io.Writer, sel *selection, b boundary) error {
	r := s.repo
	snap := r.snapshot()
	if bw, ok := w.(band); ok {
		if _, quiet := s.caps["no-progress"]; !quiet && snap.opts.Progress != "" {
			_, _ = band{s.out, 2, bw.size}.Write([]byte(snap.opts.Progress))
		}
	}
	cw := &countWriter{w: w}
	defer func() {
		r.count(func(st *Stats) { st.Fetches++; st.Packs++; st.PackBytes += cw.n })
	}()
	if snap.opts.BandError != "" {
		if bw, ok := w.(band); ok {
			_, _ = band{s.out, 3, bw.size}.Write([]byte(snap.opts.BandError))
			return nil
		}
		return fatalf("%s", snap.opts.BandError)
	}
	if snap.opts.ServePack != nil {
		return snap.opts.ServePack(cw)
	}
	objs, err := r.collect(r.store, sel, b)
	if err != nil {
		return fatalf("upload-pack: %v", err)
	}
	bw := bufio.NewWriterSize(cw, 256<<10)
	if snap.opts.Deltas != NoDeltas {
		_, thin := s.caps["thin-pack"]
		_, ofs := s.caps["ofs-delta"]
		err = r.writeDeltaPack(bw, objs, sel, deltaOptions{thin: thin, ofs: ofs, chain: snap.opts.DeltaDepth})
	} else {
		err = writePack(bw, r.store, objs)
	}
	return errors.Join(err, bw.Flush())
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Update is one reference update of a push.
type Update struct {
	// Ref is the full reference name.
	Ref string
	// Old and New are the ids the client gave; "" is "does not exist".
	Old, New Hash
	// Options are the push options of the whole push.
	Options []string
	// User is who pushes; "" if anonymous.
	User string
}

type update struct {
	Update
	err string // why it is refused, "" if it is not
}

func (s *session) receiveCaps() string {
	c := s.repo.snapshot().opts.Capabilities
	l := []string{"quiet"}
	add := func(off bool, name string) {
		if !off {
			l = append(l, name)
		}
	}
	add(c.NoReportStatus, "report-status")
	add(c.NoReportStatus || c.NoReportStatusV2, "report-status-v2")
	add(c.NoDeleteRefs, "delete-refs")
	add(c.NoSideBand || c.NoSideBand64k, "side-band-64k")
	add(c.NoAtomic, "atomic")
	add(c.NoOfsDelta, "ofs-delta")
	add(c.NoPushOptions, "push-options")
	add(c.NoThinPack, "")
	add(!c.NoThinPack, "no-thin")
	add(c.NoObjectFormat, "object-format="+string(s.repo.format))
	l = append(l, "agent="+agent)
	return strings.Join(slices.DeleteFunc(l, func(s string) bool { return s == "" }), " ")
}

// receive serves receive-pack after the advertisement.
func (s *session) receive() error {
	ups, err := s.readUpdates()
	if err != nil || len(ups) == 0 {
		return s.finish(err)
	}
	var options []string
	if _, ok := s.caps["push-options"]; ok {
		if options, err = s.readOptions(); err != nil {
			return s.finish(err)
		}
	}
	for _, u := range ups {
		u.Options, u.User = options, s.user
	}
	q := newStore(s.repo.format, s.repo.store)
	unpack := "ok"
	if slices.ContainsFunc(ups, func(u *update) bool { return u.New != "" }) {
		if err := readPack(s.in, q); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
				return err // the client is gone; nothing was kept
			}
			unpack = strings.ReplaceAll(err.Error(), "\n", " ")
		}
	}
	s.apply(ups, q, unpack)
	return s.report(ups, unpack)
}

func (s *session) readUpdates() ([]*update, error) {
	var ups []*update
	zero := s.repo.format.zero()
	for {
		b, kind, err := readPkt(s.in)
		if errors.Is(err, io.EOF) && len(ups) == 0 {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if kind == pktFlush {
			return ups, nil
		}
		line, caps, first := strings.Cut(strings.TrimSuffix(string(b), "\n"), "\x00")
		if first {
			s.caps = parseCaps(caps)
		}
		if strings.HasPrefix(line, "shallow ") {
			continue
		}
		f := strings.SplitN(line, " ", 3)
		if len(f) != 3 {
			return nil, fatalf("protocol error: expected old/new/ref, got '%s'", line)
		}
		u := &update{Update: Update{Ref: f[2]}}
		if Hash(f[0]) != zero {
			u.Old = Hash(f[0])
		}
		if Hash(f[1]) != zero {
			u.New = Hash(f[1])
		}
		ups = append(ups, u)
	}
}

func (s *session) readOptions() ([]string, error) {
	var out []string
	for {
		line, kind, err := readLine(s.in)
		if err != nil || kind == pktFlush {
			return out, err
		}
		out = append(out, line)
	}
}

// apply decides on each update and moves the references and objects of the
// accepted ones, all under the repository's lock.
func (s *session) apply(ups []*update, q *store, unpack string) {
	r := s.repo
	opts := r.snapshot().opts
	if unpack != "ok" {
		for _, u := range ups {
			u.err = "unpacker error"
		}
		return
	}
	for _, u := range ups {
		u.err = s.check(u, q, opts)
	}
	if opts.PreReceive != nil && !slices.ContainsFunc(ups, func(u *update) bool { return u.err != "" }) {
		if err := opts.PreReceive(r, plain(ups)); err != nil {
			for _, u := range ups {
				u.err = "pre-receive hook declined"
			}
			_, _ = s.stderr().Write([]byte(err.Error() + "\n"))
		}
	}
	_, atomic := s.caps["atomic"]
	r.mu.Lock()
	moved := map[string]Hash{}
	for _, u := range ups {
		if u.err == "" && r.refs[u.Ref] != u.Old {
			u.err = "failed to update ref"
		}
		if u.err == "" {
			moved[u.Ref] = u.New
		}
	}
	if atomic && len(moved) < len(ups) {
		clear(moved)
		for _, u := range ups {
			if u.err == "" {
				u.err = "atomic push failure"
			}
		}
	}
	if len(moved) > 0 {
		q.merge()
	}
	for ref, id := range moved {
		if id == "" {
			delete(r.refs, ref)
		} else {
			r.refs[ref] = id
		}
	}
	r.stats.Pushes++
	r.mu.Unlock()
	if opts.PostReceive != nil && len(moved) > 0 {
		done := slices.DeleteFunc(slices.Clone(ups), func(u *update) bool { return u.err != "" })
		opts.PostReceive(r, plain(done))
	}
}

func plain(ups []*update) []Update {
	out := make([]Update, len(ups))
	for i, u := range ups {
		out[i] = u.Update
	}
	return out
}

// check returns why an update is refused.
func (s *session) check(u *update, q *store, opts RepoOptions) string {
	c := opts.Capabilities
	switch {
	case !validRef(u.Ref):
		return "funny refname"
	case opts.hidden(u.Ref):
		return "deny updating a hidden ref"
	case opts.protected(u.Ref, s.user):
		return "protected branch hook declined"
	case u.New == "" && c.NoDeleteRefs:
		return "deletion prohibited"
	case u.New == "":
		return ""
	}
	o := q.raw(u.New)
	if o == nil {
		return "missing necessary objects"
	}
	if strings.HasPrefix(u.Ref, "refs/heads/") && o.typ != CommitObject {
		return "branch tip is not a commit"
	}
	if err := connected(q, u.New); err != nil {
		return "missing necessary objects"
	}
	if u.Old == "" || !opts.DenyNonFastForward {
		return ""
	}
	seen := map[Hash]bool{}
	if err := walkCommits(q, []Hash{u.New}, nil, seen); err != nil || !seen[u.Old] {
		return "non-fast-forward"
	}
	return ""
}

// connected checks that everything new below tip is there.
func connected(q *store, tip Hash) error {
	seen := map[Hash]bool{}
	var visit func(id Hash) error
	visit = func(id Hash) error {
		if seen[id] {
			return nil
		}
		seen[id] = true
		if q.parent.raw(id) != nil {
			return nil
		}
		o := q.raw(id)
		if o == nil {
			return fmt.Errorf("object %q: %w", id, ErrNotFound)
		}
		next, err := q.links(id, o.typ)
		if err != nil {
			return err
		}
		for _, n := range next {
			if err := visit(n); err != nil {
				return err
			}
		}
		return nil
	}
	return visit(tip)
}

// links returns the objects an object refers to, links to other repositories
// excepted.
func (s *store) links(id Hash, t Type) ([]Hash, error) {
	switch t {
	case CommitObject:
		c, err := s.commit(id)
		return append(c.parents, c.tree), err
	case TagObject:
		target, err := s.tagTarget(id)
		return []Hash{target}, err
	case TreeObject:
		entries, err := s.tree(id)
		var out []Hash
		for _, e := range entries {
			if e.mode != modeGitlink {
				out = append(out, e.id)
			}
		}
		return out, err
	default:
		return nil, nil
	}
}

// stderr is where remote messages go; without a side band, nowhere.
func (s *session) stderr() io.Writer {
	if _, ok := s.caps["side-band-64k"]; ok {
		return band{s.out, 2, band64k}
	}
	return io.Discard
}

// report writes the result of a push.
func (s *session) report(ups []*update, unpack string) error {
	_, v1 := s.caps["report-status"]
	_, v2 := s.caps["report-status-v2"]
	_, side := s.caps["side-band-64k"]
	if v1 || v2 {
		var b strings.Builder
		p := newPktWriter(&b)
		p.linef("unpack %s", unpack)
		for _, u := range ups {
			if u.err == "" {
				p.linef("ok %s", u.Ref)
			} else {
				p.linef("ng %s %s", u.Ref, u.err)
			}
		}
		p.flushPkt()
		_ = p.send()
		if side {
			_, _ = band{s.out, 1, band64k}.Write([]byte(b.String()))
		} else {
			s.out.special(b.String())
		}
	}
	if side {
		s.out.flushPkt()
	}
	return s.out.send()
}

// validRef is the rule of "git check-ref-format" for a full name.
func validRef(name string) bool {
	if !strings.HasPrefix(name, "refs/") || strings.HasSuffix(name, "/") || strings.HasSuffix(name, ".") ||
		strings.Contains(name, "..") || strings.Contains(name, "@{") || strings.ContainsAny(name, " ~^:?*[\\\x7f") {
		return false
	}
	for _, c := range []byte(name) {
		if c < 0x20 {
			return false
		}
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return true
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/fail"
	"github.com/gitops-kit/sdk/git/internal/refname"
	"github.com/gitops-kit/sdk/git/internal/wire"
)

// KV is a push option.
type KV struct{ Key, Value string }

// RefUpdate is one reference to change.
type RefUpdate struct {
	// Src is what to send: a branch, "HEAD" or a full object id. Empty deletes Dst.
	Src string
	// Dst is the full reference name on the remote. Empty: that of Src.
	Dst string
	// Expect is what the remote must have. Zero: what this Repository saw
	// last, and absent where it saw nothing.
	Expect Hash
}

// PushOptions configure a push. The zero value pushes the current branch to
// the branch of the same name.
type PushOptions struct {
	Updates []RefUpdate
	// Lease allows to replace a commit that the new one does not descend from,
	// but only while the remote is where it was last seen.
	Lease bool
	// Atomic makes all updates happen or none; a server without it is ErrUnsupported.
	Atomic bool
	// Options are sent as "key=value", or "key".
	Options []KV
}

// RefResult is what became of one update.
type RefResult struct {
	Ref      string
	Old, New Hash
	OK       bool
	Rejected string // what the server said, escaped
}

var (
	// ErrNonFastForward reports a remote that is not where it was expected, or
	// a commit that does not descend from it.
	ErrNonFastForward = errors.New("not a fast-forward")
	// ErrPushRejected reports that the server declined, by protection or hook.
	ErrPushRejected = errors.New("push rejected")
)

// NonFastForwardError says where the remote is.
type NonFastForwardError struct {
	Ref              string
	Expected, Actual Hash // zero: absent
}

// Error implements error.
func (e *NonFastForwardError) Error() string {
	return fmt.Sprintf("%q is at %s, expected %s", e.Ref, e.Actual, e.Expected)
}

// Unwrap returns [ErrNonFastForward].
func (e *NonFastForwardError) Unwrap() error { return ErrNonFastForward }

// Reason returns the condition reason.
func (e *NonFastForwardError) Reason() string { return "GitOperationFailed" }

// Terminal is false: a fresh start may succeed.
func (e *NonFastForwardError) Terminal() bool { return false }

// Push sends commits and moves references of the remote. The results are
// returned even on failure. Nothing is ever overwritten that was not seen.
func (r *Repository) Push(ctx context.Context, o PushOptions) ([]RefResult, error) {
	res, err := r.push(ctx, o)
	return res, r.c.wrap(ctx, "push", r.branch, err)
}

func (r *Repository) push(ctx context.Context, o PushOptions) ([]RefResult, error) {
	results, err := r.planPush(ctx, o)
	if err != nil {
		return nil, err
	}
	options, err := pushOptions(o.Options)
	if err != nil {
		return results, err
	}
	names := map[string]bool{}
	for _, u := range results {
		names[u.Ref] = true
	}
	s, err := r.c.open(ctx, receivePack, func(name []byte) bool { return names[string(name)] })
	if err != nil {
		return results, err
	}
	defer s.close()
	if s.format != r.format && !s.adv.Empty {
		return results, fmt.Errorf("remote is %s, repository is %s: %w", s.format, r.format, ErrObjectFormat)
	}
	if o.Atomic && !s.caps.Has("atomic") || len(options) > 0 && !s.caps.Has("push-options") {
		return results, fmt.Errorf("server has no atomic push or no push options: %w", ErrUnsupported)
	}
	todo, err := compareRefs(results, s.adv.Refs)
	if err != nil || len(todo) == 0 {
		return results, err
	}
	if err := r.checkDescent(ctx, todo, o.Lease); err != nil {
		return results, err
	}
	sent := r.transmit(ctx, s, todo, o.Atomic, options)
	s.close() // settling may need a session, and servers count them
	return results, r.settle(ctx, results, todo, sent)
}

// planPush turns the options into old and new ids.
func (r *Repository) planPush(ctx context.Context, o PushOptions) ([]RefResult, error) {
	ups := o.Updates
	if len(ups) == 0 {
		if r.branch == "" || r.head.IsZero() {
			return nil, fmt.Errorf("%w: no branch to push", ErrInvalidOption)
		}
		ups = []RefUpdate{{Src: r.branch}}
	}
	out := make([]RefResult, 0, len(ups))
	seen := map[string]bool{}
	for _, u := range ups {
		id, name, err := r.source(ctx, u)
		if err != nil {
			return nil, err
		}
		if !refname.Valid(name) || seen[name] {
			return nil, fmt.Errorf("destination %q: %w", name, ErrInvalidRef)
		}
		seen[name] = true
		expect := u.Expect
		if expect.IsZero() {
			expect = r.remote[name]
		}
		out = append(out, RefResult{Ref: name, Old: r.sized(expect), New: r.sized(id)})
	}
	return out, nil
}

// sized makes a zero hash one of the repository's format, as the wire wants it.
func (r *Repository) sized(h Hash) Hash {
	if h.IsZero() {
		h, _ = driver.NewHash(make([]byte, r.format.Size()))
	}
	return h
}

func (r *Repository) source(ctx context.Context, u RefUpdate) (id Hash, dst string, err error) {
	dst = u.Dst
	switch {
	case u.Src == "":
		return Hash{}, dst, nil
	case u.Src == "HEAD":
		id = r.head
		if dst == "" && r.branch != "" {
			dst = "refs/heads/" + r.branch
		}
	default:
		name := strings.TrimPrefix(u.Src, "refs/heads/")
		var ok bool
		if id, ok = r.local[name]; ok {
			dst = first(dst, "refs/heads/"+name)
			break
		}
		if id, err = driver.ParseHash(u.Src); err != nil {
			return id, dst, fmt.Errorf("source %q: %w", u.Src, ErrRefNotFound)
		}
		if _, _, err := r.store.Get(ctx, id); err != nil {
			return id, dst, fmt.Errorf("source %q: %w", u.Src, err)
		}
	}
	if id.IsZero() {
		return id, dst, fmt.Errorf("source %q has no commit: %w", u.Src, ErrRefNotFound)
	}
	return id, dst, nil
}

func pushOptions(kvs []KV) ([]string, error) {
	if len(kvs) > 64 {
		return nil, &LimitError{Name: "push-options", Max: 64, Got: int64(len(kvs))}
	}
	var out []string
	for _, o := range kvs {
		s := o.Key
		if o.Value != "" {
			s += "=" + o.Value
		}
		if o.Key == "" || strings.ContainsAny(s, "\n\r\x00") || len(s) > 1024 {
			return nil, fmt.Errorf("%w: push option %q", ErrInvalidOption, o.Key)
		}
		out = append(out, s)
	}
	return out, nil
}

// compareRefs stops a push whose expectations do not hold, before anything is
// built, and leaves out what is already there.
func compareRefs(results []RefResult, refs []wire.Ref) ([]*RefResult, error) {
	listed := map[string]Hash{}
	for _, ref := range refs {
		listed[ref.Name] = ref.ID
	}
	var todo []*RefResult
	for i := range results {
		u := &results[i]
		at, there := listed[u.Ref]
		if there && at == u.New || !there && u.New.IsZero() {
			u.OK, u.Old = true, u.New
			continue
		}
		if there && at != u.Old || !there && !u.Old.IsZero() {
			return nil, &NonFastForwardError{Ref: u.Ref, Expected: u.Old, Actual: at}
		}
		todo = append(todo, u)
	}
	return todo, nil
}

// checkDescent requires that every branch moves forward, unless leased.
func (r *Repository) checkDescent(ctx context.Context, todo []*RefResult, lease bool) error {
	if lease {
		return nil
	}
	for _, u := range todo {
		if u.Old.IsZero() || u.New.IsZero() {
			continue
		}
		ok, err := r.descends(ctx, u.New, u.Old)
		if err != nil {
			return err
		}
		if !ok {
			return &NonFastForwardError{Ref: u.Ref, Expected: u.New, Actual: u.Old}
		}
	}
	return nil
}

// descends looks for an ancestor in the stored history.
func (r *Repository) descends(ctx context.Context, tip, ancestor Hash) (bool, error) {
	seen := map[Hash]bool{tip: true}
	todo := []Hash{tip}
	for len(todo) > 0 {
		id := todo[0]
		todo = todo[1:]
		if id == ancestor {
			return true, nil
		}
		c, err := r.commitOf(ctx, id)
		if errors.Is(err, driver.ErrObjectNotFound) || errors.Is(err, ErrNotACommit) {
			continue
		}
		if err != nil {
			return false, err
		}
		for _, p := range c.Parents {
			if !seen[p] {
				seen[p] = true
				todo = append(todo, p)
			}
		}
	}
	return false, nil
}

// transmit builds the pack, sends it and reads the report.
func (r *Repository) transmit(ctx context.Context, s *session, todo []*RefResult, atomic bool, options []string) (err error) {
	var want, have []Hash
	cmds := make([]wire.Command, 0, len(todo))
	for _, u := range todo {
		cmds = append(cmds, wire.Command{Ref: u.Ref, Old: u.Old, New: u.New})
		if !u.New.IsZero() {
			want = append(want, u.New)
		}
		if !u.Old.IsZero() {
			have = append(have, u.Old)
		}
	}
	for _, id := range r.remote { // seen there, so it is there
		have = append(have, id)
	}
	head := wire.Push(cmds, s.caps, r.c.agent, atomic, options)
	var body io.ReadSeeker
	var size int64
	if len(want) > 0 {
		f, n, err := r.spool(ctx, want, have)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		body, size = f, n
	}
	fail.Point(fpPushBefore)
	reply, err := s.send(ctx, head, body, size)
	if err != nil {
		return err
	}
	defer reply.close()
	fail.Point(fpPushSent)
	if !s.caps.Has("report-status") && !s.caps.Has("report-status-v2") {
		return wire.ErrNoReport
	}
	rep, err := wire.ReadReport(reply.pr, s.caps.Has("side-band-64k"), r.c.opts.Limits.wire())
	fail.Point(fpPushReply)
	if err != nil {
		return s.failed(err)
	}
	for _, u := range todo {
		u.OK = rep.OK[u.Ref] && rep.Unpack == "ok"
		u.Rejected = first(rep.Why[u.Ref], map[bool]string{true: "unpack: " + rep.Unpack}[rep.Unpack != "ok"], rep.Text)
		if u.OK {
			u.Rejected = ""
		}
	}
	return nil
}

// spool writes the pack to a file without a name.
func (r *Repository) spool(ctx context.Context, want, have []Hash) (*os.File, int64, error) {
	f, err := os.CreateTemp(r.c.opts.TempDir, "push-*.tmp")
	if err != nil {
		return nil, 0, err
	}
	err = os.Remove(f.Name())
	if err == nil {
		_, err = r.store.Pack(ctx, f, want, have)
	}
	var n int64
	if err == nil {
		n, err = f.Seek(0, io.SeekCurrent)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, n, nil
}

// settle finds out what happened where the report is missing or says no.
func (r *Repository) settle(ctx context.Context, results []RefResult, todo []*RefResult, sent error) error {
	open := sent != nil
	for _, u := range todo {
		open = open || !u.OK
	}
	var err error
	if open {
		err = r.ask(ctx, todo, sent)
	}
	for i := range results {
		if u := &results[i]; u.OK {
			r.landed(u)
		}
	}
	return err
}

func (r *Repository) landed(u *RefResult) {
	if u.New.IsZero() {
		delete(r.remote, u.Ref)
		return
	}
	r.remote[u.Ref] = u.New
	if b, ok := strings.CutPrefix(u.Ref, "refs/heads/"); ok {
		_ = r.setRef("refs/remotes/origin/"+b, u.New) // a convenience for whoever looks; the push is done
	}
}

// under reports whether a commit of ours arrived and somebody built on it
// before we could look.
func (r *Repository) under(ctx context.Context, ref string, now, commit Hash) bool {
	if commit.IsZero() {
		return false
	}
	ok, err := r.c.descends(ctx, tip{now, now, ref}, commit)
	return ok && err == nil
}

// ask lists the references again: what arrived is a success whatever the
// answer was, what moved is no fast-forward, the rest was rejected.
func (r *Repository) ask(ctx context.Context, todo []*RefResult, sent error) error {
	var prefixes []string
	for _, u := range todo {
		prefixes = append(prefixes, u.Ref)
	}
	l, err := r.c.list(ctx, ListOptions{Prefixes: prefixes})
	if err != nil {
		return errors.Join(sent, err)
	}
	at := map[string]Hash{}
	for _, ref := range l.Refs {
		at[ref.Name] = ref.Hash
	}
	var first error
	for _, u := range todo {
		now, there := at[u.Ref]
		switch {
		case u.OK:
		case there && now == u.New, !there && u.New.IsZero(), sent != nil && there && r.under(ctx, u.Ref, now, u.New):
			u.OK, u.Rejected = true, ""
		case there && now != u.Old, !there && !u.Old.IsZero():
			if first == nil || errors.Is(first, ErrPushRejected) {
				first = &NonFastForwardError{Ref: u.Ref, Expected: u.Old, Actual: now}
			}
		case sent != nil:
			if first == nil {
				first = sent
			}
		case first == nil:
			first = fmt.Errorf("%q: %w: %s", u.Ref, ErrPushRejected, u.Rejected)
		}
	}
	return first
}

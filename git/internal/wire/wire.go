// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package wire speaks Git's protocol, versions 0, 1 and 2, above packets and
// below transports.
package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/limits"
	"github.com/gitops-kit/sdk/git/internal/pktline"
	"github.com/gitops-kit/sdk/git/internal/redact"
	"github.com/gitops-kit/sdk/git/internal/refname"
)

var (
	// ErrProtocol reports bytes that are not the protocol.
	ErrProtocol = pktline.ErrProtocol
	// ErrNotGit reports an answer that is not Git's at all.
	ErrNotGit = errors.New("not a git server")
	// ErrRemote reports that the server refused or failed.
	ErrRemote = errors.New("remote error")
)

// RemoteError is what the server said. Text is escaped and cut.
type RemoteError struct {
	Text string
	Code int // exit or HTTP status, 0 when there is none
}

// Error implements error.
func (e *RemoteError) Error() string {
	switch {
	case e.Code != 0 && e.Text == "":
		return fmt.Sprintf("remote error: status %d", e.Code)
	case e.Code != 0:
		return fmt.Sprintf("remote error: status %d: %s", e.Code, e.Text)
	}
	return "remote error: " + e.Text
}

// Unwrap returns [ErrRemote].
func (e *RemoteError) Unwrap() error { return ErrRemote }

// Reason returns the condition reason.
func (e *RemoteError) Reason() string { return "GitOperationFailed" }

// Terminal is false: the server may change its mind.
func (e *RemoteError) Terminal() bool { return false }

// Remote makes a RemoteError of foreign text.
func Remote(text []byte) error {
	return &RemoteError{Text: redact.Text(string(bytes.TrimSpace(text)), 1024)}
}

// Limits bound what a server may send before the pack.
type Limits struct {
	Advertisement, Refs, Sideband, Symref int64
}

// Caps are the capabilities of a server.
type Caps map[string]string

// Has reports whether the server announced a capability.
func (c Caps) Has(name string) bool { _, ok := c[name]; return ok }

// HasIn reports whether a word stands in the value of a capability, as in
// "fetch=shallow filter".
func (c Caps) HasIn(name, word string) bool {
	for f := range strings.FieldsSeq(c[name]) {
		if f == word {
			return true
		}
	}
	return false
}

// Ref is one advertised reference.
type Ref struct {
	Name   string
	ID     driver.Hash
	Peeled driver.Hash // of an annotated tag, when the server told
	Target string      // of a symbolic reference, when the server told
	Unborn bool        // HEAD of an empty repository
}

// Advertisement is the first thing a server says.
type Advertisement struct {
	Version int
	Caps    Caps
	Format  driver.Format
	Refs    []Ref // version 0 and 1 only
	Dropped Dropped
	Empty   bool // version 0 and 1: no refs at all
}

// Dropped counts references whose names cannot be, and keeps the first few.
type Dropped struct {
	Count int
	Names []string
}

func (d *Dropped) add(name []byte) {
	d.Count++
	if len(d.Names) < 16 {
		d.Names = append(d.Names, redact.Text(string(name), 128))
	}
}

// Filter says which references are kept. It must not keep its argument.
type Filter func(name []byte) bool

// ReadAdvertisement reads the answer to discovery. Over HTTP it may begin with
// a service line.
func ReadAdvertisement(pr *pktline.Reader, service string, keep Filter, lim Limits) (*Advertisement, error) {
	a := &Advertisement{Caps: Caps{}}
	line, err := first(pr, service)
	if err != nil {
		return nil, err
	}
	if line == nil { // a bare flush: no references, no capabilities
		a.Empty = true
		return a, nil
	}
	if s := string(pktline.TrimLF(line)); s == "version 2" {
		a.Version = 2
		return a, a.capabilities(pr, lim)
	} else if s == "version 1" {
		a.Version = 1
		kind, next, err := pr.Next()
		if err != nil {
			return nil, unexpected(err)
		}
		if kind == pktline.Flush {
			a.Empty = true
			return a, nil
		}
		line = next
	}
	return a, a.refs(pr, line, keep, lim)
}

// first returns the first line after the optional service line, nil for a flush.
func first(pr *pktline.Reader, service string) ([]byte, error) {
	for service := service; ; {
		kind, line, err := pr.Next()
		if err != nil {
			if errors.Is(err, pktline.ErrNotPacket) {
				return nil, fmt.Errorf("answer is no packet line: %w", ErrNotGit)
			}
			return nil, unexpected(err)
		}
		switch {
		case kind == pktline.Flush:
			return nil, nil
		case kind != pktline.Data:
			return nil, fmt.Errorf("delimiter before the advertisement: %w", ErrProtocol)
		case bytes.HasPrefix(line, []byte("ERR ")):
			return nil, Remote(line[4:])
		case bytes.HasPrefix(line, []byte("# service=")):
			if service == "" || string(pktline.TrimLF(line[10:])) != service {
				return nil, fmt.Errorf("advertisement of another service: %w", ErrProtocol)
			}
			service = ""
			if kind, _, err = pr.Next(); err != nil || kind != pktline.Flush {
				return nil, fmt.Errorf("service line without flush: %w", errors.Join(ErrProtocol, err))
			}
			continue
		}
		return line, nil
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (a *Advertisement) capabilities(pr *pktline.Reader, lim Limits) error {
	for {
		kind, line, err := pr.Next()
		if err != nil {
			return unexpected(err)
		}
		if err := limits.Check("git-advertisement", lim.Advertisement, pr.Consumed()); err != nil {
			return err
		}
		switch {
		case kind == pktline.Flush:
			return a.setFormat()
		case kind != pktline.Data:
			return fmt.Errorf("delimiter among capabilities: %w", ErrProtocol)
		case bytes.HasPrefix(line, []byte("ERR ")):
			return Remote(line[4:])
		}
		k, v, _ := strings.Cut(string(pktline.TrimLF(line)), "=")
		if len(a.Caps) > 256 {
			return fmt.Errorf("too many capabilities: %w", ErrProtocol)
		}
		a.Caps[k] = v
	}
}

// ErrObjectFormat reports a hash function that nobody here knows.
var ErrObjectFormat = errors.New("unknown object format")

func (a *Advertisement) setFormat() error {
	f, err := driver.ParseFormat(a.Caps["object-format"])
	if err != nil {
		return fmt.Errorf("object format %q: %w", redact.Text(a.Caps["object-format"], 64), ErrObjectFormat)
	}
	a.Format = f
	return nil
}

// refs reads the references of versions 0 and 1; line is the first.
func (a *Advertisement) refs(pr *pktline.Reader, line []byte, keep Filter, lim Limits) error {
	name, capsText, _ := bytes.Cut(pktline.TrimLF(line), []byte{0})
	symrefs := map[string]string{}
	for f := range strings.FieldsSeq(string(capsText)) {
		k, v, _ := strings.Cut(f, "=")
		if k == "symref" {
			if from, to, ok := strings.Cut(v, ":"); ok && len(symrefs) < 64 {
				symrefs[from] = to
			}
			continue
		}
		a.Caps[k] = v
	}
	if err := a.setFormat(); err != nil {
		return err
	}
	if bytes.HasSuffix(name, []byte(" capabilities^{}")) {
		a.Empty = true
	} else if err := a.ref(name, keep, lim); err != nil {
		return err
	}
	for {
		kind, line, err := pr.Next()
		if err != nil {
			return unexpected(err)
		}
		if err := limits.Check("git-advertisement", lim.Advertisement, pr.Consumed()); err != nil {
			return err
		}
		switch {
		case kind == pktline.Flush:
			for i := range a.Refs {
				a.Refs[i].Target = symrefs[a.Refs[i].Name]
			}
			return checkSymrefs(symrefs, lim.Symref)
		case kind != pktline.Data:
			return fmt.Errorf("delimiter among references: %w", ErrProtocol)
		case bytes.HasPrefix(line, []byte("ERR ")):
			return Remote(line[4:])
		case bytes.HasPrefix(line, []byte("shallow ")):
			continue
		}
		if err := a.ref(pktline.TrimLF(line), keep, lim); err != nil {
			return err
		}
	}
}

func (a *Advertisement) ref(line []byte, keep Filter, lim Limits) error {
	hex, name, ok := bytes.Cut(line, []byte{' '})
	if !ok || len(hex) != 2*a.Format.Size() {
		return fmt.Errorf("malformed reference line: %w", ErrProtocol)
	}
	plain, peeled := bytes.CutSuffix(name, []byte("^{}"))
	if !acceptable(plain) {
		a.Dropped.add(name)
		return nil
	}
	if !keep(plain) {
		return nil
	}
	id, err := driver.ParseHash(string(hex))
	if err != nil {
		return fmt.Errorf("malformed reference line: %w", ErrProtocol)
	}
	if peeled {
		if n := len(a.Refs); n > 0 && a.Refs[n-1].Name == string(plain) {
			a.Refs[n-1].Peeled = id
		}
		return nil
	}
	a.Refs = append(a.Refs, Ref{Name: string(plain), ID: id})
	return limits.Check("git-refs", lim.Refs, int64(len(a.Refs)))
}

// checkSymrefs bounds how many symbolic references lead to one another, and
// refuses a ring.
func checkSymrefs(target map[string]string, most int64) error {
	for from := range target {
		n := int64(0)
		for at, ok := target[from]; ok; at, ok = target[at] {
			if n++; n > int64(len(target)) {
				return fmt.Errorf("symbolic references in a ring: %w", ErrProtocol)
			}
			if err := limits.Check("git-symref", most, n); err != nil {
				return err
			}
		}
	}
	return nil
}

func acceptable(name []byte) bool {
	return string(name) == "HEAD" || refname.ValidBytes(name)
}

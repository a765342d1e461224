// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package object parses commits, tags and trees from their raw bytes, as
// strictly as git fsck requires where a verdict may hang on it.
package object

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/git/driver"
)

// Signature says who and when.
type Signature struct {
	Name, Email string
	When        time.Time
}

// Commit is a parsed commit.
type Commit struct {
	Hash, Tree        driver.Hash
	Parents           []driver.Hash
	Author, Committer Signature
	Encoding          string
	Message           []byte
	Raw               []byte
	// Signature blocks: the values of gpgsig and gpgsig-sha256.
	Sig, Sig256 []byte
}

// Tag is a parsed annotated tag.
type Tag struct {
	Hash, Target driver.Hash
	Type         driver.Type
	Name         string
	Tagger       Signature
	Message      []byte
	Raw          []byte
}

func bad(kind, format string, a ...any) error {
	return fmt.Errorf("%s: %s: %w", kind, fmt.Sprintf(format, a...), driver.ErrMalformedObject)
}

// header is one header with its continuation lines joined by newlines.
type header struct{ key, value string }

// split cuts an object into headers and message.
func split(kind string, raw []byte) ([]header, []byte, error) {
	var hs []header
	var more []byte // the value of the last header while lines continue it
	rest := raw
	for {
		if len(rest) == 0 {
			return nil, nil, bad(kind, "no blank line after the headers")
		}
		line, after, ok := bytes.Cut(rest, []byte{'\n'})
		if more != nil && (len(line) == 0 || line[0] != ' ') {
			hs[len(hs)-1].value, more = string(more), nil
		}
		if len(line) == 0 && ok {
			return hs, after, nil
		}
		if !ok {
			return nil, nil, bad(kind, "header without newline")
		}
		if i := bytes.IndexAny(line, "\x00\r"); i >= 0 && (line[i] == 0 || i == len(line)-1) {
			return nil, nil, bad(kind, "NUL or carriage return in a header")
		}
		rest = after
		if line[0] == ' ' {
			if len(hs) == 0 {
				return nil, nil, bad(kind, "continuation before the first header")
			}
			if more == nil {
				more = append(more, hs[len(hs)-1].value...)
			}
			more = append(append(more, '\n'), line[1:]...)
			continue
		}
		key, value, _ := bytes.Cut(line, []byte{' '})
		hs = append(hs, header{string(key), string(value)})
	}
}

// parser walks headers in order.
type parser struct {
	kind string
	hs   []header
	i    int
}

func (p *parser) peek() string {
	if p.i < len(p.hs) {
		return p.hs[p.i].key
	}
	return ""
}

func (p *parser) take(key string) (string, error) {
	if p.peek() != key {
		return "", bad(p.kind, "header %q missing or out of place", key)
	}
	v := p.hs[p.i].value
	p.i++
	if strings.IndexByte(v, '\n') >= 0 {
		return "", bad(p.kind, "header %q is continued", key)
	}
	return v, nil
}

func (p *parser) hash(key string, f driver.Format) (driver.Hash, error) {
	v, err := p.take(key)
	if err != nil {
		return driver.Hash{}, err
	}
	return lowerHash(p.kind, key, v, f)
}

func lowerHash(kind, key, v string, f driver.Format) (driver.Hash, error) {
	h, err := driver.ParseHash(v)
	if err != nil || h.Format() != f || h.String() != v {
		return driver.Hash{}, bad(kind, "header %q is no object id", key)
	}
	return h, nil
}

// ParseCommit parses raw, whose id is known to be id.
func ParseCommit(id driver.Hash, raw []byte) (*Commit, error) {
	hs, msg, err := split("commit", raw)
	if err != nil {
		return nil, err
	}
	c := &Commit{Hash: id, Message: msg, Raw: raw}
	p := &parser{kind: "commit", hs: hs}
	if c.Tree, err = p.hash("tree", id.Format()); err != nil {
		return nil, err
	}
	for p.peek() == "parent" {
		h, err := p.hash("parent", id.Format())
		if err != nil {
			return nil, err
		}
		c.Parents = append(c.Parents, h)
	}
	if c.Author, err = p.person("author"); err != nil {
		return nil, err
	}
	if c.Committer, err = p.person("committer"); err != nil {
		return nil, err
	}
	return c, c.extra(hs[p.i:])
}

func (c *Commit) extra(hs []header) error {
	for _, h := range hs {
		switch h.key {
		case "tree", "parent", "author", "committer":
			return bad("commit", "header %q repeated or out of place", h.key)
		case "gpgsig":
			if c.Sig != nil {
				return bad("commit", "two gpgsig headers")
			}
			c.Sig = []byte(h.value)
		case "gpgsig-sha256":
			if c.Sig256 != nil {
				return bad("commit", "two gpgsig-sha256 headers")
			}
			c.Sig256 = []byte(h.value)
		case "encoding":
			if c.Encoding != "" {
				return bad("commit", "two encoding headers")
			}
			c.Encoding = h.value
		}
	}
	return nil
}

// ParseTag parses raw, whose id is known to be id.
func ParseTag(id driver.Hash, raw []byte) (*Tag, error) {
	hs, msg, err := split("tag", raw)
	if err != nil {
		return nil, err
	}
	t := &Tag{Hash: id, Message: msg, Raw: raw}
	p := &parser{kind: "tag", hs: hs}
	if t.Target, err = p.hash("object", id.Format()); err != nil {
		return nil, err
	}
	typ, err := p.take("type")
	if err != nil {
		return nil, err
	}
	if t.Type, err = driver.ParseType(typ); err != nil {
		return nil, err
	}
	if t.Name, err = p.take("tag"); err != nil {
		return nil, err
	}
	if t.Name == "" {
		return nil, bad("tag", "empty name")
	}
	if p.peek() == "tagger" { // the oldest tags have none
		if t.Tagger, err = p.person("tagger"); err != nil {
			return nil, err
		}
	}
	for _, h := range hs[p.i:] {
		switch h.key {
		case "object", "type", "tag", "tagger":
			return nil, bad("tag", "header %q repeated or out of place", h.key)
		}
	}
	return t, nil
}

// person reads "Name <email> seconds zone". The zone may be odd; the time is
// kept as the instant.
func (p *parser) person(key string) (Signature, error) {
	v, err := p.take(key)
	if err != nil {
		return Signature{}, err
	}
	open := strings.IndexByte(v, '<')
	if open < 0 {
		return Signature{}, bad(p.kind, "header %q has no email", key)
	}
	if open > 0 && v[open-1] != ' ' {
		return Signature{}, bad(p.kind, "header %q has no space before the email", key)
	}
	shut := strings.IndexByte(v[open:], '>')
	if shut < 0 {
		return Signature{}, bad(p.kind, "header %q has no end of the email", key)
	}
	s := Signature{Name: strings.TrimSpace(v[:open]), Email: v[open+1 : open+shut]}
	if strings.ContainsAny(s.Email, "<") || strings.ContainsAny(s.Name, ">") {
		return Signature{}, bad(p.kind, "header %q has a stray angle bracket", key)
	}
	f := strings.Fields(v[open+shut+1:])
	if len(f) != 2 {
		return Signature{}, bad(p.kind, "header %q has no date", key)
	}
	sec, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil || sec < 0 || len(f[0]) > 1 && f[0][0] == '0' {
		return Signature{}, bad(p.kind, "header %q has a bad date", key)
	}
	s.When = time.Unix(sec, 0).In(zone(f[1]))
	return s, nil
}

func zone(s string) *time.Location {
	if len(s) != 5 || s[0] != '+' && s[0] != '-' {
		return time.UTC
	}
	n, err := strconv.Atoi(s[1:])
	if err != nil || n/100 > 23 || n%100 > 59 {
		return time.UTC
	}
	off := (n/100*60 + n%100) * 60
	if s[0] == '-' {
		off = -off
	}
	return time.FixedZone("", off)
}

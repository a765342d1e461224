// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/pktline"
)

// Fetch is a request for a pack.
type Fetch struct {
	Wants   []driver.Hash
	Haves   []driver.Hash
	Shallow []driver.Hash // commits whose parents we lack
	Depth   int           // 0: everything
	Filter  string        // only when the server has filters
	Thin    bool
}

// V2 is the request in version 2.
func (f Fetch) V2(agent string, caps Caps) []byte {
	b := command("fetch", agent, caps)
	if f.Thin {
		b = pktline.Append(b, "thin-pack\n")
	}
	b = pktline.Append(b, "no-progress\n")
	b = pktline.Append(b, "ofs-delta\n")
	for _, h := range f.Shallow {
		b = pktline.Append(b, "shallow "+h.String()+"\n")
	}
	if f.Depth > 0 {
		b = pktline.Append(b, "deepen "+strconv.Itoa(f.Depth)+"\n")
	}
	if f.Filter != "" {
		b = pktline.Append(b, "filter "+f.Filter+"\n")
	}
	for _, h := range f.Wants {
		b = pktline.Append(b, "want "+h.String()+"\n")
	}
	for _, h := range f.Haves {
		b = pktline.Append(b, "have "+h.String()+"\n")
	}
	b = pktline.Append(b, "done\n")
	return pktline.AppendFlush(b)
}

// V0 is the request in versions 0 and 1.
func (f Fetch) V0(agent string, caps Caps) []byte {
	words := ""
	for _, w := range []string{"side-band-64k", "ofs-delta", "no-progress"} {
		if caps.Has(w) {
			words += " " + w
		}
	}
	if caps.Has("side-band") && !caps.Has("side-band-64k") {
		words += " side-band"
	}
	if f.Thin && caps.Has("thin-pack") {
		words += " thin-pack"
	}
	if f.Filter != "" {
		words += " filter"
	}
	if v, ok := caps["object-format"]; ok {
		words += " object-format=" + v
	}
	if caps.Has("agent") && agent != "" {
		words += " agent=" + agent
	}
	var b []byte
	for i, h := range f.Wants {
		if i > 0 {
			words = ""
		}
		b = pktline.Append(b, "want "+h.String()+words+"\n")
	}
	for _, h := range f.Shallow {
		b = pktline.Append(b, "shallow "+h.String()+"\n")
	}
	if f.Depth > 0 {
		b = pktline.Append(b, "deepen "+strconv.Itoa(f.Depth)+"\n")
	}
	if f.Filter != "" {
		b = pktline.Append(b, "filter "+f.Filter+"\n")
	}
	b = pktline.AppendFlush(b)
	for _, h := range f.Haves {
		b = pktline.Append(b, "have "+h.String()+"\n")
	}
	return pktline.Append(b, "done\n")
}

// maxLines bounds the lines of one part of an answer.
const maxLines = 1_000_000

// Answer is what comes before and with the pack.
type Answer struct {
	Shallow   []driver.Hash
	Unshallow []driver.Hash
	Pack      io.Reader
	band      *band
}

// Text is what the server said on the side, cut.
func (a *Answer) Text() []byte {
	if a.band == nil {
		return nil
	}
	return a.band.text
}

// Begin waits for the first byte of the pack. Its error is also that of reading
// the pack.
func (a *Answer) Begin() error {
	if a.band == nil {
		return nil // there is no other way to know that it begins
	}
	return a.band.begin()
}

// ReadV2 reads the answer up to the pack.
func ReadV2(pr *pktline.Reader, lim Limits) (*Answer, error) {
	a := &Answer{}
	last := -1
	sections := []string{"acknowledgments", "shallow-info", "wanted-refs", "packfile"}
	for {
		kind, line, err := pr.Next()
		if err != nil {
			return nil, unexpected(err)
		}
		if kind != pktline.Data {
			return nil, fmt.Errorf("section name expected: %w", ErrProtocol)
		}
		if bytes.HasPrefix(line, []byte("ERR ")) {
			return nil, Remote(line[4:])
		}
		at := -1
		for i, s := range sections {
			if string(pktline.TrimLF(line)) == s {
				at = i
			}
		}
		if at <= last {
			return nil, fmt.Errorf("section unknown or out of order: %w", ErrProtocol)
		}
		last = at
		if at == 3 {
			a.band = &band{pr: pr, lim: lim.Sideband}
			a.Pack = a.band
			return a, nil
		}
		if err := a.section(pr, at == 1); err != nil {
			return nil, err
		}
	}
}

func (a *Answer) section(pr *pktline.Reader, shallow bool) error {
	for n := 0; ; n++ {
		kind, line, err := pr.Next()
		if err != nil {
			return unexpected(err)
		}
		switch kind {
		case pktline.Delim:
			return nil
		case pktline.Data:
		default:
			return fmt.Errorf("answer ends before the pack: %w", ErrProtocol)
		}
		if bytes.HasPrefix(line, []byte("ERR ")) {
			return Remote(line[4:])
		}
		if n > maxLines {
			return fmt.Errorf("endless section: %w", ErrProtocol)
		}
		if shallow {
			if err := a.boundary(pktline.TrimLF(line)); err != nil {
				return err
			}
		}
	}
}

func (a *Answer) boundary(line []byte) error {
	what, hex, _ := bytes.Cut(line, []byte{' '})
	id, err := driver.ParseHash(string(hex))
	if err != nil {
		return fmt.Errorf("malformed shallow line: %w", ErrProtocol)
	}
	switch string(what) {
	case "shallow":
		a.Shallow = append(a.Shallow, id)
	case "unshallow":
		a.Unshallow = append(a.Unshallow, id)
	default:
		return fmt.Errorf("malformed shallow line: %w", ErrProtocol)
	}
	return nil
}

// ReadV0 reads the answer up to the pack. deepened says that a depth was asked for.
func ReadV0(pr *pktline.Reader, caps Caps, deepened bool, lim Limits) (*Answer, error) {
	a := &Answer{}
	for n := 0; deepened; n++ {
		kind, line, err := pr.Next()
		if err != nil {
			return nil, unexpected(err)
		}
		if n > maxLines {
			return nil, fmt.Errorf("endless list of shallow commits: %w", ErrProtocol)
		}
		if kind == pktline.Flush {
			break
		}
		if kind != pktline.Data {
			return nil, fmt.Errorf("delimiter in version 0: %w", ErrProtocol)
		}
		if bytes.HasPrefix(line, []byte("ERR ")) {
			return nil, Remote(line[4:])
		}
		if err := a.boundary(pktline.TrimLF(line)); err != nil {
			return nil, err
		}
	}
	banded := caps.Has("side-band-64k") || caps.Has("side-band")
	for n := 0; ; n++ {
		if n > maxLines {
			return nil, fmt.Errorf("endless acknowledgements: %w", ErrProtocol)
		}
		head, err := pr.Peek(8)
		if err != nil && len(head) < 4 {
			return nil, unexpected(err)
		}
		if string(head[:4]) == "PACK" && !banded {
			a.Pack = pr.Rest()
			return a, nil
		}
		if banded && len(head) > 4 && head[4] <= 3 {
			a.band = &band{pr: pr, lim: lim.Sideband}
			a.Pack = a.band
			return a, nil
		}
		kind, line, err := pr.Next()
		if err != nil {
			return nil, unexpected(err)
		}
		switch {
		case kind != pktline.Data:
			return nil, fmt.Errorf("acknowledgement expected: %w", ErrProtocol)
		case bytes.HasPrefix(line, []byte("ERR ")):
			return nil, Remote(line[4:])
		case bytes.HasPrefix(line, []byte("NAK")), bytes.HasPrefix(line, []byte("ACK ")):
		default:
			return nil, fmt.Errorf("acknowledgement expected: %w", ErrProtocol)
		}
	}
}

// band reads band 1 and keeps a little of band 2.
type band struct {
	pr   *pktline.Reader
	lim  int64
	rest []byte
	text []byte
	err  error
}

// Read implements io.Reader.
func (b *band) Read(p []byte) (int, error) {
	if err := b.fill(); err != nil {
		return 0, err
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// begin waits for the first byte of content; its packet may be on its way still.
func (b *band) begin() error {
	for len(b.rest) == 0 {
		if b.err != nil {
			return b.err
		}
		if head, err := b.pr.Peek(4); err == nil {
			if n, err := strconv.ParseUint(string(head), 16, 16); err == nil && n > 5 {
				if head, err = b.pr.Peek(6); err == nil && head[4] == 1 {
					return nil
				}
			}
		}
		b.err = b.next()
	}
	return nil
}

// fill waits for content.
func (b *band) fill() error {
	for len(b.rest) == 0 {
		if b.err != nil {
			return b.err
		}
		b.err = b.next()
	}
	return nil
}

func (b *band) next() error {
	kind, line, err := b.pr.Next()
	if err != nil {
		return unexpected(err)
	}
	if kind == pktline.Flush {
		return io.EOF
	}
	if kind != pktline.Data {
		return fmt.Errorf("delimiter in a side band: %w", ErrProtocol)
	}
	if len(line) == 0 {
		return nil // keep-alive
	}
	switch line[0] {
	case 1:
		b.rest = line[1:]
	case 2:
		if room := b.lim - int64(len(b.text)); room > 0 {
			b.text = append(b.text, line[1:min(int64(len(line)), room+1)]...)
		}
	case 3:
		return Remote(line[1:])
	default:
		if bytes.HasPrefix(line, []byte("ERR ")) {
			return Remote(line[4:])
		}
		return fmt.Errorf("side band %d: %w", line[0], ErrProtocol)
	}
	return nil
}

// IsCut reports whether a stream ended too early.
func IsCut(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) }

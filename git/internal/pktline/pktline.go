// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pktline reads and writes the packets of Git's wire protocol.
package pktline

import (
	"errors"
	"fmt"
	"io"
)

// ErrProtocol reports bytes that are not the protocol.
var ErrProtocol = errors.New("protocol error")

// ErrNotPacket reports a stream that does not even begin like a packet.
var ErrNotPacket = fmt.Errorf("not a packet line: %w", ErrProtocol)

// MaxPacket is the longest packet, its four length digits included.
const MaxPacket = 65520

// Kind is what a packet is.
type Kind uint8

// The kinds of packet.
const (
	Data Kind = iota
	Flush
	Delim
	ResponseEnd
)

// Reader reads packets. The payload it returns is valid until the next call.
type Reader struct {
	r        io.Reader
	buf      []byte
	from, to int
	n        int64 // bytes taken from r
	first    bool
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader {
	return &Reader{r: r, buf: make([]byte, 2*MaxPacket), first: true}
}

// Consumed is the number of bytes read from the stream so far.
func (p *Reader) Consumed() int64 { return p.n }

// Started reports whether any byte has arrived.
func (p *Reader) Started() bool { return p.n > 0 }

// fill makes at least n bytes available.
func (p *Reader) fill(n int) error {
	if p.to-p.from >= n {
		return nil
	}
	if len(p.buf)-p.from < n || p.from == p.to {
		copy(p.buf, p.buf[p.from:p.to])
		p.to -= p.from
		p.from = 0
	}
	for idle := 0; p.to-p.from < n; {
		k, err := p.r.Read(p.buf[p.to:])
		p.to += k
		p.n += int64(k)
		if p.to-p.from >= n {
			return nil
		}
		if err != nil {
			if errors.Is(err, io.EOF) && p.to > p.from {
				return io.ErrUnexpectedEOF
			}
			return err
		}
		if k == 0 {
			if idle++; idle > 100 {
				return io.ErrNoProgress
			}
		}
	}
	return nil
}

// Next returns the next packet. io.EOF is a stream that ended between
// packets, io.ErrUnexpectedEOF one that ended inside.
func (p *Reader) Next() (Kind, []byte, error) {
	if err := p.fill(4); err != nil {
		return 0, nil, err
	}
	n, ok := length(p.buf[p.from : p.from+4])
	if !ok {
		if p.first {
			return 0, nil, ErrNotPacket
		}
		return 0, nil, fmt.Errorf("packet length %q: %w", p.buf[p.from:p.from+4], ErrProtocol)
	}
	p.first = false
	switch {
	case n == 0:
		p.from += 4
		return Flush, nil, nil
	case n == 1:
		p.from += 4
		return Delim, nil, nil
	case n == 2:
		p.from += 4
		return ResponseEnd, nil, nil
	case n == 3 || n > MaxPacket:
		return 0, nil, fmt.Errorf("packet length %d: %w", n, ErrProtocol)
	}
	if err := p.fill(n); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	body := p.buf[p.from+4 : p.from+n]
	p.from += n
	return Data, body, nil
}

// Rest returns a reader of whatever follows the last packet, unframed.
func (p *Reader) Rest() io.Reader { return rest{p} }

type rest struct{ p *Reader }

func (r rest) Read(b []byte) (int, error) {
	p := r.p
	if p.from < p.to {
		n := copy(b, p.buf[p.from:p.to])
		p.from += n
		return n, nil
	}
	n, err := p.r.Read(b)
	p.n += int64(n)
	return n, err
}

func length(b []byte) (int, bool) {
	n := 0
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | int(c-'0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | int(c-'a'+10)
		case c >= 'A' && c <= 'F':
			n = n<<4 | int(c-'A'+10)
		default:
			return 0, false
		}
	}
	return n, true
}

const digits = "0123456789abcdef"

// Append adds a data packet to b. The payload must be at most MaxPacket-4 long.
func Append(b []byte, payload string) []byte {
	n := len(payload) + 4
	b = append(b, digits[n>>12&15], digits[n>>8&15], digits[n>>4&15], digits[n&15])
	return append(b, payload...)
}

// AppendFlush adds a flush packet.
func AppendFlush(b []byte) []byte { return append(b, "0000"...) }

// AppendDelim adds a delimiter packet.
func AppendDelim(b []byte) []byte { return append(b, "0001"...) }

// TrimLF removes one final newline.
func TrimLF(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == '\n' {
		return b[:n-1]
	}
	return b
}

// Peek returns up to n of the next bytes without taking them. It returns what
// there is together with the error that kept it from having more.
func (p *Reader) Peek(n int) ([]byte, error) {
	err := p.fill(n)
	return p.buf[p.from:min(p.to, p.from+n)], err
}

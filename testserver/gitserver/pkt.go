// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// maxPkt is the largest payload of a pkt-line: 65520 bytes less the length.
const maxPkt = 65516

type pktKind int

const (
	pktData pktKind = iota
	pktFlush
	pktDelim
	pktEnd
)

var errPkt = errors.New("malformed pkt-line")

// readPkt reads one pkt-line; a final newline is kept.
func readPkt(r io.Reader) ([]byte, pktKind, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, 0, err
	}
	n, err := strconv.ParseUint(string(head[:]), 16, 16)
	if err != nil {
		return nil, 0, fmt.Errorf("length %q: %w", head[:], errPkt)
	}
	switch n {
	case 0:
		return nil, pktFlush, nil
	case 1:
		return nil, pktDelim, nil
	case 2:
		return nil, pktEnd, nil
	case 3:
		return nil, 0, fmt.Errorf("length 3: %w", errPkt)
	}
	buf := make([]byte, n-4)
	if _, err := io.ReadFull(r, buf); err != nil {
		return nil, 0, fmt.Errorf("pkt-line: %w", io.ErrUnexpectedEOF)
	}
	return buf, pktData, nil
}

// readLine reads one pkt-line as text without its newline.
func readLine(r io.Reader) (string, pktKind, error) {
	b, k, err := readPkt(r)
	if n := len(b); n > 0 && b[n-1] == '\n' {
		b = b[:n-1]
	}
	return string(b), k, err
}

// pktWriter writes pkt-lines. The first error sticks and is returned by flush.
type pktWriter struct {
	w   *bufio.Writer
	err error
}

func newPktWriter(w io.Writer) *pktWriter {
	return &pktWriter{w: bufio.NewWriterSize(w, 64<<10)}
}

func (p *pktWriter) data(b []byte) {
	if p.err != nil {
		return
	}
	_, p.err = fmt.Fprintf(p.w, "%04x", len(b)+4)
	if p.err == nil {
		_, p.err = p.w.Write(b)
	}
}

func (p *pktWriter) linef(f string, a ...any) { p.data(fmt.Appendf(nil, f+"\n", a...)) }

func (p *pktWriter) special(s string) {
	if p.err == nil {
		_, p.err = p.w.WriteString(s)
	}
}

func (p *pktWriter) flushPkt() { p.special("0000") }
func (p *pktWriter) delim()    { p.special("0001") }

// send pushes buffered bytes to the client.
func (p *pktWriter) send() error {
	if p.err == nil {
		p.err = p.w.Flush()
	}
	return p.err
}

// band is an io.Writer to a side band, in packets of at most size bytes.
type band struct {
	p    *pktWriter
	code byte
	size int
}

func (b band) Write(d []byte) (int, error) {
	n := len(d)
	for len(d) > 0 && b.p.err == nil {
		k := min(len(d), b.size)
		_, b.p.err = fmt.Fprintf(b.p.w, "%04x%c", k+5, b.code)
		if b.p.err == nil {
			_, b.p.err = b.p.w.Write(d[:k])
		}
		d = d[k:]
	}
	return n, b.p.err
}

const (
	band64k = maxPkt - 1
	band1k  = 1000 - 5
)

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package pktline_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/gitops-kit/sdk/git/internal/pktline"
)

// FuzzReader reads any bytes as packets; those it accepts are written back
// byte for byte, but for the letters of the length.
func FuzzReader(f *testing.F) {
	f.Add(pktline.AppendFlush(pktline.Append(nil, "hello\n")))
	f.Add(pktline.AppendDelim(pktline.Append(nil, "")))
	f.Add([]byte("0002"))
	f.Add([]byte("0003"))
	f.Add([]byte("fff1"))
	f.Add([]byte("00zz"))
	f.Add([]byte("000A123456"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := pktline.NewReader(iotest{bytes.NewReader(b)})
		var back []byte
		for {
			kind, body, err := r.Next()
			if err != nil {
				break
			}
			switch kind {
			case pktline.Data:
				if len(body) > pktline.MaxPacket-4 {
					t.Fatalf("packet of %d bytes", len(body))
				}
				back = pktline.Append(back, string(body))
			case pktline.Flush:
				back = pktline.AppendFlush(back)
			case pktline.Delim:
				back = pktline.AppendDelim(back)
			default:
				back = append(back, "0002"...)
			}
		}
		if !bytes.EqualFold(back, b[:len(back)]) {
			t.Fatalf("%q became %q", b[:len(back)], back)
		}
		if _, err := io.Copy(io.Discard, r.Rest()); err != nil {
			t.Fatal(err)
		}
	})
}

// iotest gives one byte at a time.
type iotest struct{ r io.Reader }

func (o iotest) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	return o.r.Read(b[:1])
}

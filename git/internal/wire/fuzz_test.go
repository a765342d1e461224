// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/pktline"
	"github.com/gitops-kit/sdk/git/internal/wire"
)

var lim = wire.Limits{Advertisement: 1 << 20, Refs: 1000, Sideband: 1 << 10, Symref: 5}

func all([]byte) bool { return true }

// FuzzAdvertisement feeds any bytes to the reader of advertisements.
func FuzzAdvertisement(f *testing.F) {
	id := "1111111111111111111111111111111111111111"
	v0 := pktline.Append(nil, id+" refs/heads/main\x00side-band-64k symref=HEAD:refs/heads/main\n")
	v0 = pktline.AppendFlush(pktline.Append(v0, id+" refs/tags/v1^{}\n"))
	v2 := pktline.AppendFlush(pktline.Append(pktline.Append(nil, "version 2\n"), "fetch=shallow filter\n"))
	f.Add(v0)
	f.Add(v2)
	f.Add([]byte("0000"))
	f.Add([]byte("<html>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := wire.ReadAdvertisement(pktline.NewReader(bytes.NewReader(b)), "git-upload-pack", all, lim)
		if err == nil && len(a.Refs) > 1000 {
			t.Fatal("more references than allowed")
		}
	})
}

// FuzzAnswers feeds any bytes to the readers of listings, packs and reports.
func FuzzAnswers(f *testing.F) {
	id := "1111111111111111111111111111111111111111"
	f.Add(pktline.AppendFlush(pktline.Append(nil, id+" HEAD symref-target:refs/heads/main\n")))
	f.Add(pktline.AppendFlush(pktline.Append(pktline.Append(nil, "packfile\n"), "\x01PACK")))
	f.Add(pktline.Append(pktline.Append(nil, "NAK\n"), "\x02text"))
	f.Add(pktline.AppendFlush(pktline.Append(pktline.Append(nil, "unpack ok\n"), "ng refs/heads/main why\n")))
	f.Fuzz(func(t *testing.T, b []byte) {
		pr := func() *pktline.Reader { return pktline.NewReader(bytes.NewReader(b)) }
		_, _ = wire.ReadLsRefs(pr(), driver.SHA1, all, lim)
		_, _ = wire.ReadReport(pr(), false, lim)
		_, _ = wire.ReadReport(pr(), true, lim)
		for _, v2 := range []bool{true, false} {
			var a *wire.Answer
			var err error
			if v2 {
				a, err = wire.ReadV2(pr(), lim)
			} else {
				a, err = wire.ReadV0(pr(), wire.Caps{"side-band-64k": ""}, true, lim)
			}
			if err == nil {
				if n, _ := io.Copy(io.Discard, a.Pack); n > int64(len(b)) {
					t.Fatal("more bytes than came")
				}
				if len(a.Text()) > 1<<10+1 {
					t.Fatal("more text than is kept")
				}
			}
		}
	})
}

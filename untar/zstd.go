// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar

import (
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
)

const zstdWindow = 8 << 20

// unzstd decodes all frames of a zstd stream.
func unzstd(s *stream, r io.Reader, src *source) error {
	d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(zstdWindow))
	if err != nil {
		return invalid("zstd: %w", err)
	}
	defer d.Close()
	err = s.copy(d)
	if own := src.failure(); own != nil {
		return own
	}
	if err != nil && !errors.Is(err, errStopped) {
		return invalid("zstd: %w", err)
	}
	return err
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile

import (
	"errors"
	"io"
	"os"
	"sync"

	"github.com/gitops-kit/sdk/git/driver"
)

// Verified is the stream of a pack that is verified already. The object
// databases of this module take the pack itself from it, instead of checking
// every object a second time; others read the bytes.
type Verified struct {
	*io.SectionReader
	pack *Pack
}

// Stream returns the bytes of the pack.
func (p *Pack) Stream() *Verified {
	return &Verified{SectionReader: io.NewSectionReader(p.file, 0, p.size), pack: p}
}

// Unpack returns the pack behind a stream; false when it is another stream, one that was
// read from, or a pack of another format or checked against wider limits.
func Unpack(r io.Reader, f driver.Format, lim Limits) (*Pack, bool) {
	v, ok := r.(*Verified)
	if !ok {
		return nil, false
	}
	lim = lim.Fill()
	have := v.pack.lim
	at, err := v.Seek(0, io.SeekCurrent)
	if err != nil || at != 0 || v.pack.format != f || v.pack.thin > 0 || have.Object > lim.Object || have.DeltaDepth > lim.DeltaDepth {
		return nil, false
	}
	return v.pack, true
}

// Copy returns the same pack in a named file of its own in dir.
func (p *Pack) Copy(dir string) (*Pack, error) {
	f, err := os.CreateTemp(dir, "pack-*.tmp")
	if err != nil {
		return nil, err
	}
	c := *p
	c.file, c.path, c.shelf, c.bases, c.copying = f, f.Name(), nil, nil, new(sync.Mutex)
	// From file to file, so that the system copies where it can. Only copies
	// use the position of the source, one at a time; all reads are at an offset.
	p.copying.Lock()
	if _, err = p.file.Seek(0, io.SeekStart); err == nil {
		_, err = io.CopyN(f, p.file, p.size)
	}
	p.copying.Unlock()
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &c, nil
}

// Install gives a pack with a name its index and both their final names,
// stem.pack and stem.idx, in this order, as readers look for the index. It
// leaves nothing after an error.
func (p *Pack) Install(dir, stem string) error {
	idx, err := os.CreateTemp(dir, "idx-*.tmp")
	if err != nil {
		return err
	}
	err = errors.Join(p.WriteIndex(idx), idx.Chmod(0o444), idx.Close(), p.file.Chmod(0o444))
	if err == nil {
		err = os.Rename(p.path, stem+".pack")
	}
	if err != nil {
		return errors.Join(err, os.Remove(idx.Name()))
	}
	if err := os.Rename(idx.Name(), stem+".idx"); err != nil {
		return errors.Join(err, os.Remove(idx.Name()), os.Rename(stem+".pack", p.path))
	}
	p.path = ""
	return nil
}

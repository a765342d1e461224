// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar

import (
	"encoding/binary"
	"hash/maphash"
)

// pathKey stands for a path: two hashes under seeds that no archive knows. Two
// paths with one key would be taken for one, which is refused wherever it
// could matter: as a path that is a file and something else, or as an entry
// below a link or file.
type pathKey [2]uint64

// state is what an archive had at a path.
type state uint8

const (
	present state = 4 // with the Type in the lower bits
	written state = 8 // the file was handed to the sink
)

func (s state) kind() Type { return Type(s & (present - 1)) }

// seeds make keys.
type seeds struct {
	a, b maphash.Seed
	buf  []byte
}

func newSeeds() seeds { return seeds{a: maphash.MakeSeed(), b: maphash.MakeSeed()} }

// child is the key of a name in a directory. The root has the zero key.
func (s *seeds) child(dir pathKey, name string) pathKey {
	s.buf = binary.LittleEndian.AppendUint64(s.buf[:0], dir[0])
	s.buf = binary.LittleEndian.AppendUint64(s.buf, dir[1])
	s.buf = append(s.buf, name...)
	return pathKey{maphash.Bytes(s.a, s.buf), maphash.Bytes(s.b, s.buf)}
}

// whole is a key of a path that is not compared with those of child.
func (s *seeds) whole(path string) pathKey {
	return pathKey{maphash.String(s.a, path), maphash.String(s.b, path)}
}

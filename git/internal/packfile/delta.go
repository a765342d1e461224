// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile

// leastDelta is two sizes and the shortest instruction that gives anything;
// git takes nothing shorter.
const leastDelta = 4

// apply builds an object from its base and the instructions of a delta.
func apply(base, delta []byte, off int64) ([]byte, error) {
	if len(delta) < leastDelta {
		return nil, malformed(off, "delta without an instruction")
	}
	from, n := varint(delta)
	if n == 0 || from != uint64(len(base)) {
		return nil, malformed(off, "delta for a base of another size")
	}
	delta = delta[n:]
	size, n := varint(delta)
	if n == 0 {
		return nil, malformed(off, "delta without result size")
	}
	delta = delta[n:]
	var dst []byte
	if size > 0 {
		dst = make([]byte, 0, size)
	}
	for len(delta) > 0 {
		op := delta[0]
		delta = delta[1:]
		switch {
		case op&0x80 != 0:
			at, length, used := copyArgs(op, delta)
			if used < 0 || at+length > len(base) || uint64(len(dst)+length) > size {
				return nil, malformed(off, "delta copies outside its base")
			}
			delta = delta[used:]
			dst = append(dst, base[at:at+length]...)
		case op != 0:
			length := int(op)
			if length > len(delta) || uint64(len(dst)+length) > size {
				return nil, malformed(off, "delta inserts more than it has")
			}
			dst = append(dst, delta[:length]...)
			delta = delta[length:]
		default:
			return nil, malformed(off, "reserved delta instruction")
		}
	}
	if uint64(len(dst)) != size {
		return nil, malformed(off, "delta result of another size")
	}
	return dst, nil
}

// copyArgs reads offset and length of a copy instruction; used is -1 when
// they are cut off.
func copyArgs(op byte, b []byte) (at, length, used int) {
	for bit := range 7 {
		if op&(1<<bit) == 0 {
			continue
		}
		if used >= len(b) {
			return 0, 0, -1
		}
		if bit < 4 {
			at |= int(b[used]) << (8 * bit)
		} else {
			length |= int(b[used]) << (8 * (bit - 4))
		}
		used++
	}
	if length == 0 {
		length = 0x10000
	}
	return at, length, used
}

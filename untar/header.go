// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// Fields of a tar header block: offset and length.
const (
	offMode, lenMode     = 100, 8
	offSize, lenSize     = 124, 12
	offTime, lenTime     = 136, 12
	offSum, lenSum       = 148, 8
	offType              = 156
	offLink, lenLink     = 157, 100
	offMagic             = 257
	offPrefix, lenPrefix = 345, 155
	lenName              = 100
)

// header is what counts of a header block and the metadata before it.
type header struct {
	flag byte
	name string
	link string
	size int64
	mode int64
	time time.Time
}

func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// sums returns the unsigned and the signed checksum of a block.
func sums(b []byte) (unsigned, signed int64) {
	for i, c := range b[:blockSize] {
		if i >= offSum && i < offSum+lenSum {
			c = ' '
		}
		unsigned += int64(c)
		signed += int64(int8(c))
	}
	return unsigned, signed
}

func checksumOK(b []byte) bool {
	want, ok := octal(b[offSum : offSum+lenSum])
	u, s := sums(b)
	return ok && (want == u || want == s)
}

// octal reads a number of octal digits between spaces and NULs.
func octal(b []byte) (int64, bool) {
	b = bytes.Trim(b, " \x00")
	if len(b) == 0 {
		return 0, true
	}
	v, err := strconv.ParseUint(string(b), 8, 63)
	return int64(v), err == nil
}

// number reads octal, or base 256 where the first bit is set. Negative
// numbers are not accepted.
func number(b []byte) (int64, bool) {
	if b[0]&0x80 == 0 {
		return octal(b)
	}
	if b[0]&0x40 != 0 {
		return 0, false
	}
	v := int64(b[0] & 0x3f)
	for _, c := range b[1:] {
		if v >= 1<<55 {
			return 0, false
		}
		v = v<<8 | int64(c)
	}
	return v, true
}

// parse reads a header block whose checksum holds.
func (h *header) parse(b []byte) error {
	*h = header{flag: b[offType], name: text(b[:lenName])}
	if b[offLink] != 0 {
		h.link = text(b[offLink : offLink+lenLink])
	}
	var ok bool
	if h.size, ok = number(b[offSize : offSize+lenSize]); !ok {
		return invalid("malformed size")
	}
	if h.mode, ok = number(b[offMode : offMode+lenMode]); !ok {
		return invalid("malformed mode")
	}
	if t, ok := number(b[offTime : offTime+lenTime]); ok && t > 0 && t < 1<<40 {
		h.time = time.Unix(t, 0)
	}
	// POSIX ends the magic with NUL; GNU's older form has a space there and
	// uses the prefix field for other things.
	if string(b[offMagic:offMagic+6]) == "ustar\x00" && b[offPrefix] != 0 {
		h.name = text(b[offPrefix:offPrefix+lenPrefix]) + "/" + h.name
	}
	return nil
}

// meta is the metadata that applies to the next entry.
type meta struct {
	pax        bool
	path, link *string
	size       *int64
	time       *time.Time
	longName   *string
	longLink   *string
}

func (m *meta) empty() bool { return !m.pax && m.longName == nil && m.longLink == nil }

// apply overrides the header's fields.
func (m *meta) apply(h *header) error {
	if m.pax && (m.longName != nil || m.longLink != nil) {
		return invalid("both PAX and GNU metadata for one entry")
	}
	for _, f := range []struct{ from, to *string }{
		{m.longName, &h.name}, {m.longLink, &h.link}, {m.path, &h.name}, {m.link, &h.link},
	} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	if m.size != nil {
		h.size = *m.size
	}
	if m.time != nil {
		h.time = *m.time
	}
	*m = meta{}
	return nil
}

// long sets a GNU long name or link.
func (m *meta) long(flag byte, b []byte) error {
	s := text(b)
	to := &m.longName
	if flag == 'K' {
		to = &m.longLink
	}
	if *to != nil {
		return invalid("two long names for one entry")
	}
	*to = &s
	return nil
}

// local sets the records of a PAX header for the next entry.
func (m *meta) local(b []byte) error {
	if m.pax {
		return invalid("two PAX headers for one entry")
	}
	m.pax = true
	return records(b, func(key, value string) error {
		switch {
		case strings.HasPrefix(key, "GNU.sparse."):
			return unsupported("sparse file")
		case value == "":
			// POSIX: an empty value unsets the record.
			switch key {
			case "path":
				m.path = nil
			case "linkpath":
				m.link = nil
			case "size":
				m.size = nil
			}
		case key == "path":
			m.path = &value
		case key == "linkpath":
			m.link = &value
		case key == "size":
			n, err := strconv.ParseUint(value, 10, 63)
			if err != nil {
				return invalid("malformed PAX size")
			}
			size := int64(n)
			m.size = &size
		case key == "mtime":
			whole, _, _ := strings.Cut(value, ".")
			if n, err := strconv.ParseInt(whole, 10, 41); err == nil && n > 0 {
				t := time.Unix(n, 0)
				m.time = &t
			}
		}
		return nil
	})
}

// global checks the records of a PAX global header. None of them counts;
// those that would change what an entry is are refused, since readers differ
// about them.
func global(b []byte) error {
	return records(b, func(key, _ string) error {
		switch key {
		case "path", "linkpath", "size", "hdrcharset":
			return unsupported("global PAX record " + key)
		}
		if strings.HasPrefix(key, "GNU.sparse.") {
			return unsupported("global PAX record of a sparse file")
		}
		return nil
	})
}

// records splits PAX data: "<length> <key>=<value>\n".
func records(b []byte, fn func(key, value string) error) error {
	for len(b) > 0 {
		space := bytes.IndexByte(b, ' ')
		if space < 1 || space > 8 || b[0] == '+' || b[0] == '0' {
			return invalid("malformed PAX record")
		}
		n, err := strconv.ParseUint(string(b[:space]), 10, 31)
		if err != nil || int(n) <= space+1 || int(n) > len(b) || b[n-1] != '\n' {
			return invalid("malformed PAX record")
		}
		key, value, ok := strings.Cut(string(b[space+1:n-1]), "=")
		if !ok || key == "" {
			return invalid("malformed PAX record")
		}
		if err := fn(key, value); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package deflate_test

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/gitops-kit/sdk/untar/internal/deflate"
)

func inflate(t testing.TB, b []byte) []byte {
	t.Helper()
	r := bytes.NewReader(b)
	out, err := io.ReadAll(flate.NewReader(r))
	if err != nil {
		t.Fatalf("inflate: %v", err)
	}
	if r.Len() != 0 {
		t.Fatalf("%d bytes after the stream", r.Len())
	}
	return out
}

func inputs() map[string][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, 1<<19)
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	text := &bytes.Buffer{}
	for i := 0; text.Len() < 1<<19; i++ {
		fmt.Fprintf(text, "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c%d\n  namespace: n%d\ndata:\n  k%d: %x\n---\n", i, i%7, r.IntN(100), r.Uint64())
	}
	skewed := make([]byte, 1<<18)
	for i := range skewed {
		for skewed[i] < 200 && r.IntN(2) == 0 {
			skewed[i]++
		}
	}
	mixed := append(append(append([]byte{}, text.Bytes()[:100000]...), random[:100000]...), make([]byte, 100000)...)
	return map[string][]byte{
		"empty": {}, "one": {7}, "seven": []byte("1234567"), "zeros": make([]byte, 1<<19), "random": random,
		"text": text.Bytes(), "skewed": skewed, "mixed": mixed, "period3": bytes.Repeat([]byte("abc"), 40000),
		"period258": bytes.Repeat(random[:258], 300), "far": append(append(random[:32768:32768], random[:3000]...), random[:32768]...),
	}
}

func TestRoundTrip(t *testing.T) {
	var e deflate.Encoder
	for name, in := range inputs() {
		for _, level := range []deflate.Level{deflate.Default, deflate.Fast, deflate.Store} {
			got := e.Encode([]byte("x"), in, level)
			if !bytes.Equal(inflate(t, got[1:]), in) {
				t.Fatalf("%s level %d: different", name, level)
			}
			var again deflate.Encoder
			if !bytes.Equal(again.Encode(nil, in, level), got[1:]) {
				t.Fatalf("%s level %d: output depends on what was encoded before", name, level)
			}
			if len(got) > len(in)+len(in)/1000+32 {
				t.Errorf("%s level %d: grew from %d to %d", name, level, len(in), len(got))
			}
		}
	}
}

func FuzzRoundTrip(f *testing.F) {
	for _, in := range inputs() {
		f.Add(in[:min(len(in), 4096)], uint8(1))
	}
	f.Fuzz(func(t *testing.T, in []byte, repeat uint8) {
		in = bytes.Repeat(in, 1+int(repeat)%16)
		if len(in) > deflate.MaxInput {
			return
		}
		var e deflate.Encoder
		for _, level := range []deflate.Level{deflate.Default, deflate.Fast, deflate.Store} {
			if !bytes.Equal(inflate(t, e.Encode(nil, in, level)), in) {
				t.Fatalf("level %d: different", level)
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	in := inputs()
	for _, name := range []string{"text", "random"} {
		for level, l := range map[string]deflate.Level{"default": deflate.Default, "fast": deflate.Fast} {
			b.Run(name+"/"+level, func(b *testing.B) {
				var e deflate.Encoder
				var out []byte
				b.SetBytes(int64(len(in[name])))
				for b.Loop() {
					out = e.Encode(out[:0], in[name], l)
				}
				b.ReportMetric(float64(len(out))/float64(len(in[name])), "ratio")
			})
		}
		b.Run(name+"/std6", func(b *testing.B) {
			var out bytes.Buffer
			w, _ := flate.NewWriter(&out, 6)
			b.SetBytes(int64(len(in[name])))
			for b.Loop() {
				out.Reset()
				w.Reset(&out)
				_, _ = w.Write(in[name])
				_ = w.Close()
			}
			b.ReportMetric(float64(out.Len())/float64(len(in[name])), "ratio")
		})
	}
}

// decode runs the decoder over b with room for limit bytes.
func decode(d *deflate.Decoder, b []byte, limit int) ([]byte, int, bool) {
	src := append(make([]byte, 0, len(b)+deflate.Slack), b...)
	dst := make([]byte, limit, limit+deflate.Slack)
	w, r, ok := d.Decode(dst, src)
	return dst[:w], r, ok
}

func TestDecode(t *testing.T) {
	var e deflate.Encoder
	var d deflate.Decoder
	for name, in := range inputs() {
		for _, level := range []deflate.Level{deflate.Default, deflate.Fast, deflate.Store} {
			b := e.Encode(nil, in, level)
			if got, n, ok := decode(&d, append(b, 1, 2, 3), len(in)); !ok || n != len(b) || !bytes.Equal(got, in) {
				t.Fatalf("%s level %d: ok=%t, read %d of %d", name, level, ok, n, len(b))
			}
			if _, _, ok := decode(&d, b, max(len(in)-1, 0)); ok && len(in) > 0 {
				t.Fatalf("%s level %d: more than there is room for", name, level)
			}
			for _, cut := range []int{0, 1, 2, 3, 7, 20, 63, 99} {
				if cut >= len(b) {
					break
				}
				if got, _, ok := decode(&d, b[:len(b)-1-cut], len(in)); ok && len(in) > 0 {
					t.Fatalf("%s level %d: accepted without the last %d bytes: %d", name, level, cut+1, len(got))
				}
			}
		}
		for level := 0; level <= 9; level++ {
			var std bytes.Buffer
			w, _ := flate.NewWriter(&std, level)
			_, _ = w.Write(in)
			_ = w.Close()
			if got, _, ok := decode(&d, std.Bytes(), len(in)); ok && !bytes.Equal(got, in) {
				t.Fatalf("%s compress/flate %d: different", name, level)
			} else if !ok && len(in) > 300 {
				t.Errorf("%s compress/flate %d: refused", name, level)
			}
		}
	}
}

// FuzzDecode: what is accepted is what compress/flate makes of it.
func FuzzDecode(f *testing.F) {
	var e deflate.Encoder
	for _, in := range inputs() {
		f.Add(e.Encode(nil, in[:min(len(in), 3000)], deflate.Default))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var d deflate.Decoder
		got, n, ok := decode(&d, b, 1<<20)
		if !ok {
			return
		}
		r := bytes.NewReader(b)
		want, err := io.ReadAll(flate.NewReader(r))
		if err != nil || !bytes.Equal(got, want) || n != len(b)-r.Len() {
			t.Fatalf("accepted %d bytes from %d; compress/flate: %v, %d bytes from %d", len(got), n, err, len(want), len(b)-r.Len())
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	var e deflate.Encoder
	in := inputs()["text"]
	src := e.Encode(nil, in, deflate.Default)
	src = append(make([]byte, 0, len(src)+deflate.Slack), src...)
	dst := make([]byte, len(in), len(in)+deflate.Slack)
	b.Run("ours", func(b *testing.B) {
		var d deflate.Decoder
		b.SetBytes(int64(len(in)))
		for b.Loop() {
			d.Decode(dst, src)
		}
	})
	b.Run("std", func(b *testing.B) {
		b.SetBytes(int64(len(in)))
		for b.Loop() {
			_, _ = io.ReadFull(flate.NewReader(bytes.NewReader(src)), dst)
		}
	})
}

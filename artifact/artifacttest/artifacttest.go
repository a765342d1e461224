// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package artifacttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/untar/digest"
)

// Run checks a driver. newDriver returns an empty one; it registers its own
// cleanup. With GITOPS_KIT_LONG=1 in the environment it stores 10,000 files
// instead of 1,000; with -test.short 150.
func Run(t *testing.T, newDriver func(testing.TB) artifact.Driver) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*testing.T, artifact.Driver)
	}{
		{"Contract", contract},
		{"FailedWrites", failedWrites},
		{"OpenReaders", openReaders},
		{"AtomicReplace", atomicReplace},
		{"Order", order},
		{"Keys", keys},
		{"Links", links},
		{"Keeping", keeping},
		{"ManyFiles", manyFiles},
		{"Cancelled", cancelled},
		{"Store", store},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, newDriver(t)) })
	}
}

func key(file string) artifact.Key {
	return artifact.Key{Kind: "test", Namespace: "default", Name: "conformance", File: file}
}

func put(t testing.TB, d artifact.Driver, k artifact.Key, content string) artifact.Stat {
	t.Helper()
	st, err := d.Put(t.Context(), k, strings.NewReader(content))
	if err != nil {
		t.Fatalf("Put %s: %v", k, err)
	}
	return st
}

func get(t testing.TB, d artifact.Driver, k artifact.Key) (string, artifact.Stat) {
	t.Helper()
	r, st, err := d.Get(t.Context(), k)
	if err != nil {
		t.Fatalf("Get %s: %v", k, err)
	}
	defer r.Close() //nolint:errcheck // opened for reading
	b, err := io.ReadAll(io.LimitReader(r, 64<<20))
	if err != nil {
		t.Fatalf("read %s: %v", k, err)
	}
	return string(b), st
}

func absent(t testing.TB, d artifact.Driver, k artifact.Key) {
	t.Helper()
	r, _, err := d.Get(t.Context(), k)
	if err == nil {
		_ = r.Close()
	}
	if !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("Get %s: %v, want ErrNotFound", k, err)
	}
}

func files(t testing.TB, d artifact.Driver, k artifact.Key) []string {
	t.Helper()
	list, err := d.List(t.Context(), k.Object())
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	var out []string
	for _, st := range list {
		out = append(out, st.Key.File)
	}
	slices.Sort(out)
	return out
}

func contract(t *testing.T, d artifact.Driver) {
	absent(t, d, key("a"))
	if got := files(t, d, key("")); len(got) != 0 {
		t.Errorf("an object that is not there has files %v", got)
	}
	st := put(t, d, key("a"), "one")
	sum, _ := digest.FromBytes(digest.SHA256, []byte("one"))
	if st.Size != 3 || st.Digest != sum.String() || st.Seq == 0 || st.Written.IsZero() || st.Key != key("a") {
		t.Errorf("Put returned %+v", st)
	}
	text, got := get(t, d, key("a"))
	if text != "one" || !got.Written.Equal(st.Written) || got.Seq != st.Seq || got.Digest != st.Digest || got.Size != 3 {
		t.Errorf("Get: %q %+v, written as %+v", text, got, st)
	}
	put(t, d, key("empty"), "")
	if text, st := get(t, d, key("empty")); text != "" || st.Size != 0 {
		t.Errorf("an empty file: %q %+v", text, st)
	}
	st2 := put(t, d, key("a"), "two, longer")
	if text, got := get(t, d, key("a")); text != "two, longer" || got.Seq != st2.Seq || st2.Seq <= st.Seq {
		t.Errorf("replaced: %q %+v, was %+v", text, got, st)
	}
	if diff := cmp.Diff([]string{"a", "empty"}, files(t, d, key(""))); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	r, _, err := d.Get(t.Context(), key("a"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close() //nolint:errcheck // opened for reading
	if n, err := r.Seek(5, io.SeekStart); n != 5 || err != nil {
		t.Errorf("Seek: %d, %v", n, err)
	}
	if b, _ := io.ReadAll(io.LimitReader(r, 6)); string(b) != "longer" {
		t.Errorf("after Seek: %q", b)
	}
	if err := d.Delete(t.Context(), key("a"), key("not-there")); err != nil {
		t.Errorf("Delete: %v", err)
	}
	absent(t, d, key("a"))
	if err := d.Delete(t.Context(), key("empty")); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if err := d.Delete(t.Context(), key("empty")); err != nil {
		t.Errorf("Delete of what is gone: %v", err)
	}
	if s, ok := d.(artifact.Sweeper); ok {
		if objects, err := s.Objects(t.Context()); err != nil {
			t.Errorf("Objects: %v", err)
		} else if b, _ := d.List(t.Context(), key("")); len(b) != 0 {
			t.Errorf("files after the last was deleted: %v (objects %v)", b, objects)
		}
	}
}

type failing struct {
	r   io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if errors.Is(err, io.EOF) {
		err = f.err
	}
	return n, err
}

func failedWrites(t *testing.T, d artifact.Driver) {
	mine := errors.New("source failed")
	for _, size := range []int{0, 10, 1 << 20} {
		_, err := d.Put(t.Context(), key("x"), &failing{bytes.NewReader(make([]byte, size)), mine})
		if !errors.Is(err, mine) {
			t.Errorf("Put with a failing reader: %v, want its error", err)
		}
		absent(t, d, key("x"))
	}
	put(t, d, key("x"), "good")
	if _, err := d.Put(t.Context(), key("x"), &failing{strings.NewReader("bad"), mine}); !errors.Is(err, mine) {
		t.Errorf("Put: %v", err)
	}
	if text, _ := get(t, d, key("x")); text != "good" {
		t.Errorf("a failed write changed the file to %q", text)
	}
	if diff := cmp.Diff([]string{"x"}, files(t, d, key(""))); diff != "" {
		t.Errorf("a failed write left files (-want +got):\n%s", diff)
	}
}

func openReaders(t *testing.T, d artifact.Driver) {
	content := strings.Repeat("old", 1<<20)
	put(t, d, key("x"), content)
	open := func() io.ReadSeekCloser {
		r, _, err := d.Get(t.Context(), key("x"))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first, second := open(), open()
	put(t, d, key("x"), "new")
	if err := d.Delete(t.Context(), key("x")); err != nil {
		t.Fatal(err)
	}
	for _, r := range []io.ReadSeekCloser{first, second} {
		b, err := io.ReadAll(io.LimitReader(r, 64<<20))
		if err != nil || string(b) != content {
			t.Errorf("an open file was not complete after it was replaced and deleted: %d bytes, %v", len(b), err)
		}
		_ = r.Close()
	}
}

// atomicReplace has readers look at a key while it is rewritten: each sees
// one of the versions as a whole, and none goes back.
func atomicReplace(t *testing.T, d artifact.Driver) {
	versions := 60
	if testing.Short() {
		versions = 20
	}
	text := func(i int) string { return strings.Repeat(fmt.Sprintf("%06d", i), 20_000) }
	put(t, d, key("x"), text(0))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			last := -1
			for ctx.Err() == nil {
				r, st, err := d.Get(ctx, key("x"))
				if err != nil {
					if ctx.Err() == nil {
						t.Errorf("a reader found nothing: %v", err)
					}
					return
				}
				b, err := io.ReadAll(io.LimitReader(r, 64<<20))
				_ = r.Close()
				var i int
				if _, serr := fmt.Sscanf(string(b[:min(6, len(b))]), "%06d", &i); serr != nil || err != nil || string(b) != text(i) {
					t.Errorf("a reader saw a torn file of %d bytes: %v", len(b), err)
					return
				}
				if sum, _ := digest.FromBytes(digest.SHA256, b); st.Digest != "" && sum.String() != st.Digest || st.Size != int64(len(b)) {
					t.Errorf("version %d came with the digest of another", i)
					return
				}
				if i < last {
					t.Errorf("a reader went back from version %d to %d", last, i)
					return
				}
				last = i
			}
		})
	}
	for i := 1; i < versions; i++ {
		put(t, d, key("x"), text(i))
	}
	stop()
	group.Wait()
}

func order(t *testing.T, d artifact.Driver) {
	var last uint64
	for i := range 20 {
		st := put(t, d, key(fmt.Sprintf("f%d", i*7%20)), fmt.Sprint(i))
		if st.Seq <= last {
			t.Errorf("write %d has Seq %d after %d", i, st.Seq, last)
		}
		last = st.Seq
	}
	if err := d.Delete(t.Context(), key("f0")); err != nil {
		t.Fatal(err)
	}
	if st := put(t, d, key("g"), "x"); st.Seq <= last {
		t.Errorf("Seq %d after %d and a deletion", st.Seq, last)
	}
	list, err := d.List(t.Context(), key(""))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]bool{}
	for _, st := range list {
		if seen[st.Seq] {
			t.Errorf("two files have Seq %d", st.Seq)
		}
		seen[st.Seq] = true
	}
}

// keys checks that malformed keys are refused before anything is touched.
func keys(t *testing.T, d artifact.Driver) {
	good := key("ok")
	put(t, d, good, "safe")
	bad := []artifact.Key{
		{},
		{Kind: "test"},
		{Kind: "test", Namespace: "default"},
		{Kind: "..", Namespace: "default", Name: "x", File: "f"},
		{Kind: "test", Namespace: "..", Name: "x", File: "f"},
		{Kind: "test", Namespace: "a/b", Name: "x", File: "f"},
		{Kind: "test", Namespace: "default", Name: "../default/conformance", File: "f"},
		{Kind: "test", Namespace: "", Name: "x", File: "f"},
		key(".."), key("."), key("a/b"), key(".hidden"), key("x.lock"), key("x.tmp"), key(`a\b`), key("a\x00b"), key(strings.Repeat("x", 256)), key("ä"),
	}
	for _, k := range bad {
		if _, err := d.Put(t.Context(), k, strings.NewReader("x")); err == nil {
			t.Errorf("Put accepted %+v", k)
		}
		if r, _, err := d.Get(t.Context(), k); err == nil {
			_ = r.Close()
			t.Errorf("Get accepted %+v", k)
		}
		if k.Validate() != nil && k.ValidateObject() != nil {
			if _, err := d.List(t.Context(), k); err == nil {
				t.Errorf("List accepted %+v", k)
			}
			if err := d.Delete(t.Context(), k); err == nil {
				t.Errorf("Delete accepted %+v", k)
			}
		}
	}
	if text, _ := get(t, d, good); text != "safe" {
		t.Error("a malformed key touched another file")
	}
	put(t, d, key(strings.Repeat("x", 255)), "longest")
	put(t, d, key("A-z.0_9+:@=-"), "every byte")
}

// keeping asks a driver with a cache, if it is one, for what it has not lost.
func keeping(t *testing.T, d artifact.Driver) {
	k, ok := d.(artifact.Keeper)
	if !ok {
		return
	}
	st := put(t, d, key("x"), "content")
	if restored, err := k.Keep(t.Context(), key("x")); restored || err != nil {
		t.Errorf("Keep of a file that is there: %t, %v", restored, err)
	}
	if text, now := get(t, d, key("x")); text != "content" || now.Seq != st.Seq {
		t.Errorf("Keep changed the file: %q %+v", text, now)
	}
	for _, unknown := range []artifact.Key{key("y"), {Kind: "test", Namespace: "default", Name: "nobody", File: "x"}} {
		if restored, err := k.Keep(t.Context(), unknown); restored || !errors.Is(err, artifact.ErrNotFound) {
			t.Errorf("Keep of %s: %t, %v, want ErrNotFound", unknown, restored, err)
		}
	}
	if _, err := k.Keep(t.Context(), artifact.Key{}); err == nil {
		t.Error("Keep accepted a key without parts")
	}
}

func links(t *testing.T, d artifact.Driver) {
	l, ok := d.(artifact.Linker)
	if !ok {
		t.Skip("the driver has no stable names")
	}
	put(t, d, key("v1.tar.gz"), "one")
	if err := l.Link(t.Context(), key("not-there"), "latest.tar.gz"); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("Link to nothing: %v", err)
	}
	for i := range 3 {
		name := fmt.Sprintf("v%d.tar.gz", i+1)
		put(t, d, key(name), name)
		if err := l.Link(t.Context(), key(name), "latest.tar.gz"); err != nil {
			t.Fatalf("Link: %v", err)
		}
		if text, st := get(t, d, key("latest.tar.gz")); text != name || st.Key != key(name) {
			t.Errorf("the link gives %q, %+v", text, st)
		}
	}
	if got := files(t, d, key("")); slices.Contains(got, "latest.tar.gz") {
		t.Errorf("List shows the link: %v", got)
	}
	if err := l.Link(t.Context(), key("v1.tar.gz"), "v2.tar.gz"); err == nil {
		t.Error("Link replaced a file")
	}
	if text, _ := get(t, d, key("v2.tar.gz")); text != "v2.tar.gz" {
		t.Errorf("v2 is %q", text)
	}
	if err := d.Delete(t.Context(), key("v3.tar.gz")); err != nil {
		t.Fatal(err)
	}
	absent(t, d, key("latest.tar.gz"))
	if err := d.Delete(t.Context(), key("v1.tar.gz"), key("v2.tar.gz")); err != nil {
		t.Fatal(err)
	}
	absent(t, d, key("latest.tar.gz"))
}

func manyFiles(t *testing.T, d artifact.Driver) {
	n := 1000
	switch {
	case testing.Short():
		n = 150
	case os.Getenv("GITOPS_KIT_LONG") == "1":
		n = 10_000
	}
	var all []artifact.Key
	for i := range n {
		// Objects with a hundred files each, since an index may be bounded.
		k := artifact.Key{Kind: "test", Namespace: "default", Name: fmt.Sprintf("many-%d", i/100), File: fmt.Sprintf("f%05d", i)}
		put(t, d, k, fmt.Sprint(i))
		all = append(all, k)
	}
	for _, i := range []int{0, n / 2, n - 1} {
		if text, _ := get(t, d, all[i]); text != fmt.Sprint(i) {
			t.Errorf("file %d holds %q", i, text)
		}
	}
	if got := files(t, d, all[0]); len(got) != 100 {
		t.Errorf("List has %d of 100 files", len(got))
	}
	if err := d.Delete(t.Context(), all...); err != nil {
		t.Errorf("Delete of %d files: %v", n, err)
	}
	if got := files(t, d, all[0]); len(got) != 0 {
		t.Errorf("%d files left", len(got))
	}
}

func cancelled(t *testing.T, d artifact.Driver) {
	ctx, stop := context.WithCancel(t.Context())
	put(t, d, key("x"), "good")
	_, err := d.Put(ctx, key("x"), io.MultiReader(strings.NewReader("bad"), readerFunc(func([]byte) (int, error) {
		stop()
		return 0, io.EOF
	})))
	if err != nil {
		if text, _ := get(t, d, key("x")); text != "good" {
			t.Errorf("a cancelled write changed the file to %q", text)
		}
	}
	if _, err := d.Put(ctx, key("y"), strings.NewReader("y")); err == nil {
		t.Error("Put with a context that has ended")
	}
	absent(t, d, key("y"))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// store runs the portable type over the driver.
func store(t *testing.T, d artifact.Driver) {
	s, err := artifact.NewStore(d, artifact.Options{BaseURL: "host", Algorithm: digest.SHA512, Limits: artifact.Limits{Free: artifact.Free{Percent: -1, Bytes: -1}, TTL: -1}})
	if err != nil {
		t.Fatal(err)
	}
	fill := func(text string) func(io.Writer) error {
		return func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return err
		}
	}
	a, err := s.Write(t.Context(), key("x"), "r1", fill("one"), artifact.WriteOptions{})
	if err != nil {
		t.Fatalf("Write: %v", err)
	}
	want, _ := digest.FromBytes(digest.SHA512, []byte("one"))
	if a.Digest != want.String() || *a.Size != 3 {
		t.Errorf("Write returned %+v", a)
	}
	if st := statOf(t, d, key("x")); st.Digest != want.String() {
		t.Errorf("the digest of the content was not recorded: %q", st.Digest)
	}
	if err := s.Check(t.Context(), a, artifact.Full); err != nil {
		t.Errorf("Check: %v", err)
	}
	if _, err := s.Write(t.Context(), key("x"), "r2", fill("two"), artifact.WriteOptions{Immutable: true}); !errors.Is(err, artifact.ErrConflict) {
		t.Errorf("Write of other content under an immutable key: %v", err)
	}
	before := statOf(t, d, key("x"))
	if _, err := s.Write(t.Context(), key("x"), "r2", fill("one"), artifact.WriteOptions{Immutable: true}); err != nil {
		t.Errorf("Write of the same content: %v", err)
	}
	if after := statOf(t, d, key("x")); after.Seq != before.Seq {
		t.Error("the same content was written again")
	}
	r, err := s.Open(t.Context(), a)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	_ = r.Close()
}

func statOf(t testing.TB, d artifact.Driver, k artifact.Key) artifact.Stat {
	t.Helper()
	_, st := get(t, d, k)
	return st
}

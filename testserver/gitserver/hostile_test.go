// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/gitserver"
)

// TST-13: malformed objects arrive exactly as they were put.
func TestPutRaw(t *testing.T) {
	g := NewWithT(t)
	s := gitserver.Start(t, gitserver.Options{})
	r := s.Repo("app")
	tree := r.Tree(gitserver.TreeEntry{Mode: "100644", Name: "../escape", ID: r.PutRaw(gitserver.BlobObject, []byte("x"))})
	raw := fmt.Sprintf("tree %s\ntree %s\nauthor a <a> 0 +0000\ncommitter c <c> 0 +0000\n\nx\x00y", tree, tree)
	id := r.PutRaw(gitserver.CommitObject, []byte(raw))
	sum := sha1.Sum(fmt.Appendf(nil, "commit %d\x00%s", len(raw), raw))
	g.Expect(id.String()).To(Equal(hex.EncodeToString(sum[:])))
	r.Ref("refs/heads/main", id.String())
	c := newClient(t)
	c.git("init", "-q", "w")
	w := c.at("w")
	w.git("-c", "fetch.fsckObjects=false", "fetch", "-q", r.URL(), "main")
	g.Expect(w.git("cat-file", "commit", id.String())).To(Equal(raw))
	g.Expect(w.git("ls-tree", tree.String())).To(ContainSubstring("../escape"))
	_, err := w.try("fsck", "--strict")
	g.Expect(err).To(HaveOccurred(), "and git calls them malformed")
}

// TST-13
func TestSetRawRef(t *testing.T) {
	for _, v := range []string{"0", "2"} {
		t.Run(v, func(t *testing.T) {
			g := NewWithT(t)
			s := gitserver.Start(t, gitserver.Options{})
			r := s.Repo("app")
			id := r.Commit("main", gitserver.Files{"a": "b"}, gitserver.CommitOptions{})
			for _, name := range []string{"refs/heads/../../config", "config", "refs/heads/a\x00b", "refs/heads/.lock"} {
				r.SetRawRef(name, id)
			}
			var body string
			if v == "0" {
				_, body = get(t, s, r.URL()+"/info/refs?service=git-upload-pack")
			} else {
				body = post(t, s, r.URL()+"/git-upload-pack", pkt("command=ls-refs\n")+"0001"+pkt("peel\n")+"0000", "Git-Protocol", "version=2")
			}
			g.Expect(body).To(ContainSubstring(pkt(id.String() + " refs/heads/../../config\n")))
			g.Expect(body).To(ContainSubstring(pkt(id.String() + " config\n")))
			g.Expect(body).To(ContainSubstring(pkt(id.String() + " refs/heads/a\x00b\n")))
			g.Expect(body).To(ContainSubstring(pkt(id.String() + " refs/heads/.lock\n")))
			g.Expect(r.Refs()).To(HaveLen(1))
		})
	}
}

func pkt(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }

func post(t *testing.T, s *gitserver.Server, url, body string, header ...string) string {
	t.Helper()
	c := s.Client()
	defer c.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-git-upload-pack-request")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TST-13: a handful of objects, and the git program agrees on what they mean.
func TestBombs(t *testing.T) {
	g := NewWithT(t)
	s := gitserver.Start(t, gitserver.Options{})
	r := s.Repo("app")
	bomb := r.Bomb(10, 10)
	deep := r.DeepTree(5000)
	tag := r.TagChain(1000, bomb)
	r.Ref("refs/heads/bomb", bomb.String())
	r.Ref("refs/heads/deep", deep.String())
	r.Ref("refs/tags/chain", tag.String())
	c := newClient(t)
	c.git("init", "-q", "w")
	w := c.at("w")
	w.git("fetch", "-q", r.URL(), "bomb")
	count := strings.Fields(w.git("count-objects"))[0]
	g.Expect(count).To(Equal("12"), "a blob, ten trees, a commit")
	pack, err := r.PackOf("deep")
	g.Expect(err).NotTo(HaveOccurred())
	ids, err := gitserver.ParsePack(gitserver.SHA1, pack)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(ids).To(HaveLen(5002))
	refs := w.git("ls-remote", r.URL(), "refs/tags/chain*")
	g.Expect(refs).To(ContainSubstring("refs/tags/chain^{}"))
}

// TST-13: the delta bomb is small, and its last entry claims what was asked for.
func TestDeltaBomb(t *testing.T) {
	g := NewWithT(t)
	s := gitserver.Start(t, gitserver.Options{})
	r := s.Repo("app")
	commit := r.Commit("main", gitserver.Files{"f": "x"}, gitserver.CommitOptions{})
	pack := r.DeltaBomb(commit, 6)
	g.Expect(len(pack)).To(BeNumerically("<", 8<<10))
	g.Expect(len(r.DeltaBomb(commit, 12))).To(BeNumerically("<", 16<<10), "it stops growing before it gets large itself")
	small := r.DeltaBomb(commit, 2)
	ids, err := gitserver.ParsePack(gitserver.SHA1, small)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(ids).To(HaveLen(5))
	indexPack(t, small)
	_, body, err := lastObject(r, small, ids[4])
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(body).To(Equal(4096 * 16 * 16))
	r.ServePack(func(w io.Writer) error {
		_, err := w.Write(pack)
		return err
	})
	c := newClient(t)
	c.git("init", "-q", "w")
	got := post(t, s, r.URL()+"/git-upload-pack", pkt("command=fetch")+"0001"+pkt("want "+commit.String()+"\n")+pkt("done\n")+"0000", "Git-Protocol", "version=2")
	g.Expect(got).To(ContainSubstring(string(pack)), "the pack is served as it is")
}

// lastObject reads a pack's objects into a repository of the server and returns
// the size of one.
func lastObject(r *gitserver.Repo, pack []byte, id gitserver.Hash) (gitserver.Type, int, error) {
	if err := r.AddPack(pack); err != nil {
		return 0, 0, err
	}
	t, data, err := r.Object(id)
	return t, len(data), err
}

// indexPack has the git program check a pack.
func indexPack(t *testing.T, pack []byte) {
	t.Helper()
	c := newClient(t)
	c.git("init", "-q", "--bare", "w")
	c.write("p.pack", string(pack))
	c.at("w").git("index-pack", "../p.pack")
}

// TST-13
func TestDeltaChain(t *testing.T) {
	g := NewWithT(t)
	s := gitserver.Start(t, gitserver.Options{})
	r := s.Repo("app")
	commit, pack := r.DeltaChain(2000)
	indexPack(t, pack)
	r.Ref("refs/heads/main", commit.String())
	r.ServePack(func(w io.Writer) error {
		_, err := w.Write(pack)
		return err
	})
	c := newClient(t)
	c.git("-c", "fetch.unpackLimit=1", "clone", "-q", r.URL(), "w")
	g.Expect(c.at("w").read("f")).To(HaveSuffix("2000"))
	g.Expect(c.at("w").git("verify-pack", "-v", firstPack(t, c.at("w")))).To(ContainSubstring("chain length = 2000"))
}

// TST-13: golden bytes of packs that lie.
func TestPackBuilderLies(t *testing.T) {
	g := NewWithT(t)
	pack := gitserver.BuildPack(gitserver.SHA1, func(b *gitserver.PackBuilder) {
		g.Expect(b.Entry(3, 1<<62, nil, []byte("x"))).To(BeEquivalentTo(12))
		b.Count(7)
		b.Trailer(bytes.Repeat([]byte{1}, 20))
	})
	g.Expect(string(pack[:4])).To(Equal("PACK"))
	g.Expect(binary.BigEndian.Uint32(pack[8:])).To(BeEquivalentTo(7))
	g.Expect(hex.EncodeToString(pack[12:21])).To(Equal("b08080808080808080"[:18]), "type 3, size 2^62")
	g.Expect(pack[len(pack)-20:]).To(Equal(bytes.Repeat([]byte{1}, 20)))
	_, err := gitserver.ParsePack(gitserver.SHA1, pack)
	g.Expect(err).To(HaveOccurred())
	good := gitserver.BuildPack(gitserver.SHA256, func(b *gitserver.PackBuilder) {
		at := b.Object(gitserver.BlobObject, bytes.Repeat([]byte("a"), 100))
		b.OfsDelta(at, gitserver.Delta(100, 103, gitserver.DeltaCopy(0, 100), gitserver.DeltaInsert([]byte("end"))))
	})
	ids, err := gitserver.ParsePack(gitserver.SHA256, good)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(ids).To(HaveLen(2))
	for cut := range len(good) {
		_, err := gitserver.ParsePack(gitserver.SHA256, good[:cut])
		g.Expect(err).To(HaveOccurred(), "cut at %d", cut)
	}
}

// TST-13
func TestOtherLies(t *testing.T) {
	g := NewWithT(t)
	s := gitserver.Start(t, gitserver.Options{})
	r := s.Repo("app")
	r.Commit("main", gitserver.Files{"a": "b"}, gitserver.CommitOptions{Message: "red \x1b[31m and \u202e"})
	other, err := s.Repo("other"), error(nil)
	other.Commit("main", gitserver.Files{"c": "d"}, gitserver.CommitOptions{Message: "other"})
	wrong, err := other.PackOf("main")
	g.Expect(err).NotTo(HaveOccurred())
	c := newClient(t)
	c.git("init", "-q", "w")
	fails := func(reason, text string) {
		t.Helper()
		out, err := c.at("w").try("fetch", r.URL(), "main")
		g.Expect(err).To(HaveOccurred(), reason)
		g.Expect(out).To(ContainSubstring(text), reason)
	}
	r.ServePack(func(w io.Writer) error { _, err := w.Write(wrong); return err })
	fails("wrong pack", "")
	r.ServePack(nil)
	r.Configure(func(o *gitserver.RepoOptions) { o.BandError = "quota \x1b[2J exceeded" })
	fails("third side band", "exceeded")
	r.Configure(func(o *gitserver.RepoOptions) { o.BandError = ""; o.Intercept = gitserver.HTMLPage })
	fails("HTML", "")
	r.Configure(func(o *gitserver.RepoOptions) { o.Intercept = nil; o.Progress = "\x1b[2Jclean\r\n" })
	got := post(t, s, r.URL()+"/git-upload-pack", pkt("command=fetch")+"0001"+pkt("want "+r.Head("main").String())+pkt("done")+"0000", "Git-Protocol", "version=2")
	g.Expect(got).To(ContainSubstring("\x02\x1b[2Jclean\r\n"))
	g.Expect(other.Head("main")).NotTo(Equal(r.Head("main")))
}

// TST-13
func TestEndlessListing(t *testing.T) {
	for _, v := range []string{"0", "2"} {
		t.Run(v, func(t *testing.T) {
			g := NewWithT(t)
			s := gitserver.Start(t, gitserver.Options{Repo: gitserver.RepoOptions{EndlessRefs: true}})
			r := s.Repo("app")
			r.Commit("main", gitserver.Files{"a": "b"}, gitserver.CommitOptions{})
			method, url, body := "GET", r.URL()+"/info/refs?service=git-upload-pack", ""
			if v == "2" {
				method, url, body = "POST", r.URL()+"/git-upload-pack", pkt("command=ls-refs")+"0000"
			}
			req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
			g.Expect(err).NotTo(HaveOccurred())
			req.Header.Set("Git-Protocol", "version="+v)
			req.Header.Set("Content-Type", "application/x-git-upload-pack-request")
			c := s.Client()
			defer c.CloseIdleConnections()
			resp, err := c.Do(req)
			g.Expect(err).NotTo(HaveOccurred())
			n, err := io.CopyN(io.Discard, resp.Body, 5<<20)
			g.Expect(n, err).To(BeEquivalentTo(5 << 20))
			_ = resp.Body.Close()
		})
	}
}

// TST-5: byte-level faults over SSH.
func TestFaultsOverSSH(t *testing.T) {
	s := gitserver.Start(t, gitserver.Options{SSH: &gitserver.SSHOptions{}})
	r := s.Repo("app")
	seed(r)
	c := newClient(t)
	c.useSSH(s)
	cases := map[string]fault.Plan{
		"Cut": {CutAfter: 900}, "CutEarly": {CutAfter: 1}, "Reset": {CutAfter: 900, RST: true}, "RST": {RST: true}, "Drop": {Drop: true},
		"Flip": {FlipAt: 2000}, "Status": {Status: 500},
	}
	for name, plan := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s.SetFaults(plan)
			defer s.SetFaults()
			_, err := c.try("clone", "-q", r.SSHURL(), name)
			g.Expect(err).To(HaveOccurred())
			log := s.Log()
			g.Expect(log[len(log)-1].Fault).To(Equal(plan.String()))
		})
	}
	t.Run("DropPush", func(t *testing.T) {
		g := NewWithT(t)
		c.git("clone", "-q", r.SSHURL(), "pusher")
		w := c.at("pusher")
		w.write("x", "x")
		w.git("add", ".")
		w.git("commit", "-q", "-m", "x")
		s.SetFaults(fault.Plan{Match: fault.Match{Route: "receive-pack"}, Drop: true})
		defer s.SetFaults()
		_, err := w.try("push", "-q", "origin", "main")
		g.Expect(err).To(HaveOccurred())
		g.Expect(r.Head("main").String()).To(Equal(strings.TrimSpace(w.git("rev-parse", "HEAD"))), "pushed, but the answer was lost")
	})
	t.Run("Throttle", func(t *testing.T) {
		s.SetFaults(fault.Plan{Throttle: 1 << 20, Delay: time.Millisecond})
		c.git("clone", "-q", r.SSHURL(), "throttled")
	})
	t.Run("Stall", func(t *testing.T) {
		g := NewWithT(t)
		s.SetFaults(fault.Plan{Stall: 100})
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		d := *c
		d.t = deadline{c.t, ctx}
		_, err := d.try("clone", "-q", r.SSHURL(), "stalled")
		g.Expect(err).To(HaveOccurred())
		g.Expect(ctx.Err()).To(MatchError(context.DeadlineExceeded))
	})
}

// deadline is a TB whose context ends.
type deadline struct {
	testing.TB
	ctx context.Context //nolint:containedctx // what it is for
}

func (d deadline) Context() context.Context { return d.ctx }

// TST-13: an error of a content method fails nothing but is kept under Run.
func TestRunKeepsErrors(t *testing.T) {
	g := NewWithT(t)
	s, err := gitserver.Run(t.Context(), gitserver.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	defer s.Stop()
	g.Expect(s.Repo("app").Tag("v1", "nowhere")).To(BeEmpty())
	g.Expect(errors.Is(s.Err(), gitserver.ErrNotFound)).To(BeTrue())
	g.Expect(s.Repo("app").Refs()).To(BeEmpty())
}

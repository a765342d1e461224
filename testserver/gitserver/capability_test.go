// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver_test

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/testserver/gitserver"
)

type caps = gitserver.Capabilities

// TST-11: each switch takes its capability out of the advertisement, and the
// git program still clones, fetches and pushes.
func TestCapabilitySwitches(t *testing.T) {
	cases := map[string]struct {
		caps     caps
		versions string // which versions advertise it
		word     string
		added    bool // the switch adds the word instead of taking it
		push     bool // it is a capability of pushes
	}{
		"NoShallow":        {caps: caps{NoShallow: true}, versions: "02", word: "shallow"},
		"NoDeepenSince":    {caps: caps{NoDeepenSince: true}, versions: "0", word: "deepen-since"},
		"NoDeepenRelative": {caps: caps{NoDeepenRelative: true}, versions: "0", word: "deepen-relative"},
		"NoFilter":         {caps: caps{NoFilter: true}, versions: "02", word: "filter"},
		"NoOfsDelta":       {caps: caps{NoOfsDelta: true}, versions: "0", word: "ofs-delta"},
		"NoThinPack":       {caps: caps{NoThinPack: true}, versions: "0", word: "thin-pack"},
		"NoSideBand64k":    {caps: caps{NoSideBand64k: true}, versions: "0", word: "side-band-64k"},
		"NoSideBand":       {caps: caps{NoSideBand: true}, versions: "0", word: "side-band"},
		"MultiAckOnly":     {caps: caps{MultiAckOnly: true}, versions: "0", word: "multi_ack_detailed"},
		"NoMultiAck":       {caps: caps{NoMultiAck: true}, versions: "0", word: "multi_ack"},
		"NoNoDone":         {caps: caps{NoNoDone: true}, versions: "0", word: "no-done"},
		"NoProgress":       {caps: caps{NoProgress: true}, versions: "0", word: "no-progress"},
		"NoIncludeTag":     {caps: caps{NoIncludeTag: true}, versions: "0", word: "include-tag"},
		"NoSymref":         {caps: caps{NoSymref: true}, versions: "0", word: "symref="},
		"AllowTip":         {caps: caps{AllowTipSHA1: true}, versions: "0", word: "allow-tip-sha1-in-want", added: true},
		"AllowReachable":   {caps: caps{AllowReachableSHA1: true}, versions: "0", word: "allow-reachable-sha1-in-want", added: true},
		"NoObjectFormat":   {caps: caps{NoObjectFormat: true}, versions: "02", word: "object-format"},
		"NoUnborn":         {caps: caps{NoUnborn: true}, versions: "2", word: "unborn"},
		"NoObjectInfo":     {caps: caps{NoObjectInfo: true}, versions: "2", word: "object-info"},
		"NoWaitForDone":    {caps: caps{NoWaitForDone: true}, versions: "2", word: "wait-for-done"},
		"NoServerOption":   {caps: caps{NoServerOption: true}, versions: "2", word: "server-option"},
		"RefInWant":        {caps: caps{RefInWant: true}, versions: "2", word: "ref-in-want", added: true},
		"NoReportStatus":   {caps: caps{NoReportStatus: true}, versions: "0", word: "report-status", push: true},
		"NoReportStatusV2": {caps: caps{NoReportStatusV2: true}, versions: "0", word: "report-status-v2", push: true},
		"NoAtomic":         {caps: caps{NoAtomic: true}, versions: "0", word: "atomic", push: true},
		"NoPushOptions":    {caps: caps{NoPushOptions: true}, versions: "0", word: "push-options", push: true},
		"NoDeleteRefs":     {caps: caps{NoDeleteRefs: true}, versions: "0", word: "delete-refs", push: true},
	}
	s := gitserver.Start(t, gitserver.Options{})
	for name, tc := range cases {
		for _, v := range tc.versions {
			t.Run(fmt.Sprintf("%s/v%c", name, v), func(t *testing.T) {
				g := NewWithT(t)
				r := s.Repo(fmt.Sprintf("%s-%c", name, v))
				seed(r)
				c, u := mode{version: string(v)}.connect(t, s, r)
				advertised := func(c caps) string {
					r.Configure(func(o *gitserver.RepoOptions) { o.Capabilities = c })
					return advertisement(t, s, r, tc.push, string(v))
				}
				g.Expect(has(advertised(caps{}), tc.word)).To(Equal(!tc.added), "before")
				g.Expect(has(advertised(tc.caps), tc.word)).To(Equal(tc.added), "after")
				if tc.caps.MultiAckOnly {
					return // git asks for multi_ack_detailed over HTTP; see TestMultiAckOverSSH
				}
				c.git("clone", "-q", u, "w")
				w := c.at("w")
				w.git("fsck", "--strict")
				r.Commit("main", gitserver.Files{"more": "more"}, gitserver.CommitOptions{})
				w.git("pull", "-q", "--ff-only")
				w.write("x", "x")
				w.git("add", ".")
				w.git("commit", "-q", "-m", "x")
				w.git("push", "-q", "origin", "main")
				g.Expect(r.Head("main").String()).To(Equal(strings.TrimSpace(w.git("rev-parse", "HEAD"))))
			})
		}
	}
}

// TST-11: the older negotiations, which the git program uses over SSH only.
func TestMultiAckOverSSH(t *testing.T) {
	for name, cp := range map[string]caps{"multi_ack": {MultiAckOnly: true}, "none": {NoMultiAck: true}, "bare": {NoMultiAck: true, NoSideBand: true, NoOfsDelta: true}} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := gitserver.Start(t, gitserver.Options{SSH: &gitserver.SSHOptions{}, Repo: gitserver.RepoOptions{Capabilities: cp}})
			r := s.Repo("app")
			seed(r)
			c, u := mode{ssh: true, version: "0"}.connect(t, s, r)
			c.git("clone", "-q", u, "w")
			w := c.at("w")
			for i := range 40 { // history the server does not have
				w.write("x", fmt.Sprint(i))
				w.git("add", ".")
				w.git("commit", "-q", "-m", "x")
			}
			r.Commit("main", gitserver.Files{"more": "more"}, gitserver.CommitOptions{})
			before := r.Stats().PackBytes
			w.git("fetch", "-q")
			w.git("fsck", "--strict")
			g.Expect(strings.TrimSpace(w.git("rev-parse", "origin/main"))).To(Equal(r.Head("main").String()))
			g.Expect(r.Stats().PackBytes-before).To(BeNumerically("<", 1000), "common history was found")
		})
	}
}

// has reports whether a capability is a word of the text.
func has(text, word string) bool {
	for f := range strings.FieldsFuncSeq(text, func(r rune) bool { return r <= ' ' }) {
		if len(f) > 4 && f[0] == '0' { // the length of a pkt-line
			f = f[4:]
		}
		if f == word || strings.HasPrefix(f, word+"=") || (strings.HasSuffix(word, "=") && strings.HasPrefix(f, word)) ||
			strings.Contains(f, "="+word) {
			return true
		}
	}
	return false
}

// advertisement fetches info/refs with a raw client.
func advertisement(t *testing.T, s *gitserver.Server, r *gitserver.Repo, push bool, version string) string {
	t.Helper()
	service := "git-upload-pack"
	if push {
		service = "git-receive-pack"
	}
	_, body := get(t, s, r.URL()+"/info/refs?service="+service, "Git-Protocol", "version="+version)
	return body
}

// TST-11
func TestDeltaPacks(t *testing.T) {
	for _, v := range []string{"0", "2"} {
		for _, noOfs := range []bool{false, true} {
			t.Run(fmt.Sprintf("v%s/ofs=%v", v, !noOfs), func(t *testing.T) {
				g := NewWithT(t)
				s := gitserver.Start(t, gitserver.Options{Repo: gitserver.RepoOptions{Deltas: gitserver.Deltas, DeltaDepth: 3}})
				r := s.Repo("app")
				r.Configure(func(o *gitserver.RepoOptions) { o.Capabilities.NoOfsDelta = noOfs })
				body := strings.Repeat("0123456789 some text that stays the same\n", 500)
				for i := range 10 {
					r.Commit("main", gitserver.Files{"f": body + fmt.Sprint(i), "d/g": fmt.Sprint(i) + body}, gitserver.CommitOptions{})
				}
				c, u := mode{version: v}.connect(t, s, r)
				c.git("-c", "fetch.unpackLimit=1", "clone", "-q", u, "w")
				w := c.at("w")
				w.git("fsck", "--strict", "--full")
				g.Expect(r.Stats().PackBytes).To(BeNumerically("<", 10_000), "deltas make it small")
				stats := w.git("verify-pack", "-v", firstPack(t, w))
				g.Expect(stats).To(ContainSubstring("chain length = 3"))
				g.Expect(stats).NotTo(ContainSubstring("chain length = 4"))
				r.Commit("main", gitserver.Files{"f": body + "thin"}, gitserver.CommitOptions{})
				before := r.Stats().PackBytes
				w.git("pull", "-q")
				g.Expect(w.read("f")).To(Equal(body + "thin"))
				g.Expect(r.Stats().PackBytes-before).To(BeNumerically("<", 1000), "a thin pack")
			})
		}
	}
}

func firstPack(t *testing.T, c *client) string {
	t.Helper()
	entries, err := os.ReadDir(c.dir + "/.git/objects/pack")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".idx") {
			return ".git/objects/pack/" + e.Name()
		}
	}
	t.Fatal("no pack")
	return ""
}

// TST-11, TST-15
func TestPartialClone(t *testing.T) {
	for _, f := range []string{"blob:none", "blob:limit=100", "tree:0", "tree:1", "combine:blob:none+tree:2"} {
		t.Run(f, func(t *testing.T) {
			g := NewWithT(t)
			s := gitserver.Start(t, gitserver.Options{})
			r := s.Repo("app")
			seed(r)
			c := newClient(t)
			c.git("clone", "-q", "--no-checkout", "--filter="+f, r.URL(), "w")
			g.Expect(r.Stats().Filters).To(Equal([]string{f}))
			w := c.at("w")
			have := strings.Fields(w.git("cat-file", "--batch-all-objects", "--batch-check=%(objecttype)", "--unordered"))
			count := func(kind string) (n int) {
				for _, k := range have {
					if k == kind {
						n++
					}
				}
				return n
			}
			g.Expect(count("commit")).To(Equal(6))
			switch f {
			case "tree:0":
				g.Expect(count("tree") + count("blob")).To(BeZero())
			case "blob:limit=100":
				g.Expect(count("blob")).To(BeNumerically(">", 3))
			default:
				g.Expect(count("blob")).To(BeZero())
			}
			w.git("checkout", "-q", "main")
			g.Expect(w.read("a/b/c.txt")).To(HaveSuffix("more\n"), "missing objects are fetched on demand")
			g.Expect(r.Stats().Fetches).To(BeNumerically(">=", 2))
		})
	}
}

// TST-11
func TestIdsThatAreNotAdvertised(t *testing.T) {
	cases := map[string]struct {
		reason  string
		version string
		caps    caps
		hidden  bool
		ok      bool
	}{
		"V0":          {reason: "v0 serves what it advertises", version: "0"},
		"V0Reachable": {reason: "allowed when reachable", version: "0", caps: caps{AllowReachableSHA1: true}, ok: true},
		"V0HiddenTip": {reason: "a hidden tip needs allow-tip", version: "0", hidden: true},
		"V0AllowTip":  {reason: "allow-tip serves it", version: "0", caps: caps{AllowTipSHA1: true}, hidden: true, ok: true},
		"V2":          {reason: "v2 serves everything it has", version: "2", ok: true},
		"V2NotAny":    {reason: "unless switched off", version: "2", caps: caps{NoAnySHA1InV2: true}},
		"V2HiddenTip": {reason: "hidden from the listing only", version: "2", hidden: true, ok: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := gitserver.Start(t, gitserver.Options{Repo: gitserver.RepoOptions{Capabilities: tc.caps, Hidden: []string{"refs/secret/*"}}})
			r := s.Repo("app")
			first := r.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
			r.Commit("main", gitserver.Files{"a": "2"}, gitserver.CommitOptions{})
			want := first
			if tc.hidden {
				want = r.CommitOnly(gitserver.Files{"s": "s"}, gitserver.CommitOptions{})
				r.Ref("refs/secret/x", want.String())
			}
			c, u := mode{version: tc.version}.connect(t, s, r)
			c.git("init", "-q", "w")
			g.Expect(c.git("ls-remote", u)).NotTo(ContainSubstring("refs/secret"))
			_, err := c.at("w").try("fetch", "-q", "--depth=1", u, want.String())
			g.Expect(err == nil).To(Equal(tc.ok), tc.reason)
		})
	}
}

// TST-11
func TestPushPolicy(t *testing.T) {
	g := NewWithT(t)
	s := gitserver.Start(t, gitserver.Options{})
	r := s.Repo("app")
	seed(r)
	c := newClient(t)
	c.git("clone", "-q", r.URL(), "w")
	w := c.at("w")
	w.write("x", "x")
	w.git("add", ".")
	w.git("commit", "-q", "-m", "x")
	before := r.Refs()
	refused := func(reason, text string, args ...string) {
		t.Helper()
		out, err := w.try(append([]string{"push", "origin"}, args...)...)
		g.Expect(err).To(HaveOccurred(), reason)
		g.Expect(out).To(ContainSubstring(text), reason)
		g.Expect(r.Refs()).To(Equal(before), reason)
	}
	set := func(f func(*gitserver.RepoOptions)) {
		r.Configure(func(o *gitserver.RepoOptions) { *o = gitserver.RepoOptions{}; f(o) })
	}
	set(func(o *gitserver.RepoOptions) { o.Protected = []string{"refs/heads/main"} })
	refused("protected", "protected branch hook declined", "main")
	refused("atomic", "atomic push failure", "--atomic", "main", "HEAD:refs/heads/new")
	set(func(o *gitserver.RepoOptions) { o.DenyNonFastForward = true })
	refused("forced", "non-fast-forward", "+HEAD~2:main")
	set(func(o *gitserver.RepoOptions) { o.Capabilities.NoDeleteRefs = true })
	refused("deletion", "remote rejected", ":side")
	set(func(o *gitserver.RepoOptions) { o.Hidden = []string{"refs/secret/*"} })
	refused("hidden", "deny updating a hidden ref", "HEAD:refs/secret/x")
	set(func(o *gitserver.RepoOptions) { o.ReadOnly = true })
	refused("read-only", "403", "main")
	set(func(o *gitserver.RepoOptions) {
		o.PreReceive = func(_ *gitserver.Repo, ups []gitserver.Update) error {
			return fmt.Errorf("ticket %v: %w", ups[0].Options, errors.ErrUnsupported)
		}
	})
	refused("hook", "remote: ticket [a=b c]", "-o", "a=b", "-o", "c", "main")
	refused("hook", "pre-receive hook declined", "main")

	var seen []gitserver.Update
	set(func(o *gitserver.RepoOptions) {
		o.PostReceive = func(_ *gitserver.Repo, ups []gitserver.Update) { seen = append(seen, ups...) }
	})
	w.git("push", "-q", "origin", "main")
	g.Expect(seen).To(HaveLen(1))
	g.Expect(seen[0].Ref).To(Equal("refs/heads/main"))
	g.Expect(seen[0].Old).To(Equal(before["refs/heads/main"]))
	g.Expect(r.Head("main")).To(Equal(seen[0].New))
}

// TST-11: a reference that moves between listing and fetch.
func TestBetweenListAndFetch(t *testing.T) {
	for _, v := range []string{"0", "2"} {
		t.Run(v, func(t *testing.T) {
			g := NewWithT(t)
			s := gitserver.Start(t, gitserver.Options{})
			r := s.Repo("app")
			first := r.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
			r.Configure(func(o *gitserver.RepoOptions) {
				o.BetweenListAndFetch = func(r *gitserver.Repo) {
					r.Configure(func(o *gitserver.RepoOptions) { o.BetweenListAndFetch = nil })
					r.Commit("main", gitserver.Files{"a": "2"}, gitserver.CommitOptions{Parents: []gitserver.Hash{}})
				}
			})
			c, u := mode{version: v}.connect(t, s, r)
			out, err := c.try("clone", "-q", u, "w")
			if v == "0" {
				g.Expect(err).To(HaveOccurred(), "v0 serves tips only")
				g.Expect(out).To(ContainSubstring("not our ref"))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(strings.TrimSpace(c.at("w").git("rev-parse", "HEAD"))).To(Equal(first.String()))
			g.Expect(r.Head("main")).NotTo(Equal(first))
		})
	}
}

// TST-10
func TestIdsAreDeterministic(t *testing.T) {
	g := NewWithT(t)
	refs := func() map[string]gitserver.Hash {
		s := gitserver.Start(t, gitserver.Options{})
		r := s.Repo("app")
		seed(r)
		r.Generate(gitserver.GenOptions{Branch: "gen", Files: 20, Commits: 5, Bytes: 1 << 16, Seed: 1})
		return r.Refs()
	}
	g.Expect(refs()).To(Equal(refs()))
}

// TST-10: generated histories are right by the git program and of the shape that
// was asked for.
func TestGeneratedHistories(t *testing.T) {
	cases := map[string]struct {
		opts         gitserver.GenOptions
		merges, tags int
	}{
		"Line":   {opts: gitserver.GenOptions{Commits: 120, Files: 110}},
		"Merges": {opts: gitserver.GenOptions{Commits: 100, Files: 10, MergeEvery: 10, TagEvery: 25, Seed: 7}, merges: 9, tags: 4},
	}
	if os.Getenv("GITOPS_KIT_LONG") == "1" {
		large := cases["Line"]
		large.opts, large.tags = gitserver.GenOptions{Commits: 50_000, Files: 5000, TagEvery: 1000}, 50
		cases["Line"] = large
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := gitserver.Start(t, gitserver.Options{})
			r := s.Repo("big")
			tip := r.Generate(tc.opts)
			g.Expect(r.Head("main")).To(Equal(tip))
			c := newClient(t)
			c.git("clone", "-q", r.URL(), "w")
			w := c.at("w")
			w.git("fsck", "--strict", "--full")
			count := func(args ...string) string { return strings.TrimSpace(w.git(args...)) }
			g.Expect(count("rev-list", "--count", "HEAD")).To(Equal(strconv.Itoa(tc.opts.Commits)))
			g.Expect(count("rev-list", "--count", "--merges", "HEAD")).To(Equal(strconv.Itoa(tc.merges)))
			g.Expect(strings.Count(w.git("ls-files"), "\n")).To(Equal(tc.opts.Files))
			g.Expect(strings.Fields(w.git("tag", "--merged", "HEAD"))).To(HaveLen(tc.tags))
		})
	}
}

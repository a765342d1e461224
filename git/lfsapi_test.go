// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	. "github.com/onsi/gomega"
)

const lfsAttributes = "*.bin filter=lfs\n"

// large puts large files with these contents on main, and returns their ids.
func large(repo *gitserver.Repo, contents ...string) (oids []string) {
	files := gitserver.Files{".gitattributes": lfsAttributes}
	for i, c := range contents {
		p := repo.LFSPointer(c)
		files[fmt.Sprintf("f%03d.bin", i)] = p
		_, rest, _ := strings.Cut(p, "sha256:")
		oids = append(oids, rest[:64])
	}
	repo.Commit("main", files, gitserver.CommitOptions{})
	return oids
}

// checkoutLFS checks main out with its large files, and looks that a failure
// left nothing.
func checkoutLFS(ctx context.Context, t *testing.T, url string, o git.Options) (map[string]string, error) {
	t.Helper()
	c := client(t, url, o)
	r, err := c.Resolve(ctx, git.Reference{Branch: "main"}, git.ResolveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	_, err = c.Checkout(ctx, r, filepath.Join(parent, "out"), git.CheckoutOptions{LFS: true})
	NewWithT(t).Expect(leftovers(t, o.TempDir)).To(BeEmpty())
	if err != nil {
		NewWithT(t).Expect(leftovers(t, parent)).To(BeEmpty())
		return nil, err
	}
	return tree(t, filepath.Join(parent, "out")), nil
}

// front answers some requests to a repository itself and passes the others on.
// It returns the repository's URL there; large files are there, too.
func front(t *testing.T, repo *gitserver.Repo, answer func(w http.ResponseWriter, r *http.Request) bool) string {
	t.Helper()
	to, err := url.Parse(strings.TrimSuffix(repo.URL(), "/app"))
	if err != nil {
		t.Fatal(err)
	}
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !answer(w, r) {
			pass.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	repo.Configure(func(o *gitserver.RepoOptions) { o.LFS.BaseURL = srv.URL })
	return srv.URL + "/app"
}

// GIT-66: at most 100 objects a request, four downloads at a time.
func TestLFSBatches(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	contents := make([]string, 101)
	for i := range contents {
		contents[i] = strings.Repeat(fmt.Sprint(i), 10)
	}
	large(repo, contents...)
	var mu sync.Mutex
	var batches []int
	running, most := 0, 0
	four := make(chan struct{})
	url := front(t, repo, func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasSuffix(r.URL.Path, "/objects/batch"):
			var body struct {
				Operation string            `json:"operation"`
				Transfers []string          `json:"transfers"`
				Objects   []json.RawMessage `json:"objects"`
				Ref       struct{ Name string }
				HashAlgo  string `json:"hash_algo"`
			}
			b, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(strings.NewReader(string(b)))
			err := json.Unmarshal(b, &body)
			mu.Lock()
			defer mu.Unlock()
			batches = append(batches, len(body.Objects))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(fmt.Sprint(body.Operation, body.Transfers, body.Ref.Name, body.HashAlgo)).To(Equal("download[basic]refs/heads/mainsha256"))
			g.Expect(r.Header.Get("Content-Type")).To(Equal("application/vnd.git-lfs+json"))
		case strings.Contains(r.URL.Path, "/lfs/"):
			mu.Lock()
			running++
			if most = max(most, running); running == 4 && most == 4 {
				select {
				case <-four:
				default:
					close(four)
				}
			}
			mu.Unlock()
			<-four // nobody goes on before four are there
			oid := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
			_, _ = w.Write(repo.LFSObject(oid))
			mu.Lock()
			running--
			mu.Unlock()
			return true
		}
		return false
	})
	files, err := checkoutLFS(t.Context(), t, url, e.options(t, false))
	g.Expect(err).NotTo(HaveOccurred())
	for i, c := range contents {
		g.Expect(files[fmt.Sprintf("f%03d.bin", i)]).To(HaveSuffix(" " + c))
	}
	g.Expect(batches).To(Equal([]int{100, 1}))
	g.Expect(most).To(Equal(4))
}

// GIT-67, GIT-T5: content that is not what the pointer says, and objects that the
// server does not give out.
func TestLFSWrongContent(t *testing.T) {
	good := strings.Repeat("large", 1000)
	set := func(content string) func(*gitserver.Repo, string) {
		return func(r *gitserver.Repo, oid string) { r.SetLFSObject(oid, []byte(content)) }
	}
	for name, tc := range map[string]struct {
		bend   func(r *gitserver.Repo, oid string)
		answer func(w http.ResponseWriter)
		want   error
		code   int
	}{
		"TooShort": {set(good[1:]), nil, git.ErrDigestMismatch, 0},
		"TooLong":  {set(good + "x"), nil, git.ErrDigestMismatch, 0},
		"Hash":     {set("X" + good[1:]), nil, git.ErrDigestMismatch, 0},
		"Endless": {nil, func(w http.ResponseWriter) {
			for {
				if _, err := io.WriteString(w, good); err != nil {
					return
				}
			}
		}, git.ErrDigestMismatch, 0},
		"Unsized": {nil, func(w http.ResponseWriter) {
			_ = http.NewResponseController(w).Flush() // without a length
			_, _ = io.WriteString(w, good[1:])
		}, git.ErrDigestMismatch, 0},
		"Missing":   {(*gitserver.Repo).RemoveLFSObject, nil, nil, 404},
		"NotServed": {nil, func(w http.ResponseWriter) { w.WriteHeader(http.StatusGone) }, nil, 410},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			e := start(t, gitserver.Options{})
			repo := e.srv.Repo("app")
			oid := large(repo, good)[0]
			if tc.bend != nil {
				tc.bend(repo, oid)
			}
			url := front(t, repo, func(w http.ResponseWriter, r *http.Request) bool {
				if tc.answer == nil || !strings.HasSuffix(r.URL.Path, "/lfs/"+oid) {
					return false
				}
				tc.answer(w)
				return true
			})
			_, err := checkoutLFS(t.Context(), t, url, e.options(t, false))
			if tc.want != nil {
				g.Expect(errors.Is(err, tc.want)).To(BeTrue(), "%v", err)
				return
			}
			var le *git.LFSError
			g.Expect(errors.As(err, &le)).To(BeTrue(), "%v", err)
			g.Expect(*le).To(Equal(git.LFSError{OID: oid, Code: tc.code}))
		})
	}
}

// action answers a batch request with one address to download from.
func action(w http.ResponseWriter, oid string, size int, href string, header map[string]string) {
	w.Header().Set("Content-Type", "application/vnd.git-lfs+json")
	_ = json.NewEncoder(w).Encode(map[string]any{"objects": []any{map[string]any{
		"oid": oid, "size": size, "actions": map[string]any{"download": map[string]any{"href": href, "header": header}},
	}}})
}

// GIT-67: what the server names for an address goes there only; our credential
// goes to our own origin only; and the policy of supplied addresses holds.
func TestLFSAddresses(t *testing.T) {
	const good = "large content"
	e := start(t, gitserver.Options{Auth: gitserver.Auth{Users: map[string]string{"ann": "pw-canary"}}})
	repo := e.srv.Repo("app")
	oid := large(repo, good)[0]
	store := func(t *testing.T, to string) (url string, seen func() []http.Header) {
		var mu sync.Mutex
		var list []http.Header
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			list = append(list, r.Header.Clone())
			mu.Unlock()
			if to != "" {
				http.Redirect(w, r, to, http.StatusFound)
			} else {
				_, _ = io.WriteString(w, good)
			}
		}))
		t.Cleanup(srv.Close)
		return srv.URL + "/object", func() []http.Header {
			mu.Lock()
			defer mu.Unlock()
			return list
		}
	}
	// get checks out with href as the address of the object, "" for one at home;
	// home may answer for that.
	get := func(t *testing.T, href string, header map[string]string, allow []netip.Prefix, home func(w http.ResponseWriter, r *http.Request) bool) (map[string]string, error) {
		url := front(t, repo, func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/objects/batch") {
				return home != nil && strings.Contains(r.URL.Path, "/lfs/") && home(w, r)
			}
			to := href
			if to == "" {
				to = "http://" + r.Host + "/app/lfs/" + oid
			}
			action(w, oid, len(good), to, header)
			return true
		})
		o := e.options(t, false)
		o.Credentials = git.Static(git.Credential{Username: "ann", Password: git.NewSecret("pw-canary")})
		o.Net.AllowCIDR = allow
		return checkoutLFS(t.Context(), t, url, o)
	}
	secret := map[string]string{"X-Token": "t-canary", "Authorization": "Basic b-canary"}

	t.Run("Elsewhere", func(t *testing.T) {
		g := NewWithT(t)
		c, atC := store(t, "")
		b, atB := store(t, c)
		files, err := get(t, b, secret, loopback, nil)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(files["f000.bin"]).To(HaveSuffix(good))
		g.Expect(atB()).To(HaveLen(1))
		g.Expect(atB()[0].Get("X-Token") + atB()[0].Get("Authorization")).To(Equal("t-canaryBasic b-canary"))
		g.Expect(atC()).To(HaveLen(1))
		g.Expect(fmt.Sprint(atC()[0])).NotTo(ContainSubstring("canary"))
	})
	t.Run("NothingNamed", func(t *testing.T) { // ours does not go there either
		g := NewWithT(t)
		b, atB := store(t, "")
		_, err := get(t, b, nil, loopback, nil)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(atB()).To(HaveLen(1))
		g.Expect(fmt.Sprint(atB()[0])).NotTo(ContainSubstring("canary"))
	})
	t.Run("OwnOrigin", func(t *testing.T) {
		g := NewWithT(t)
		var auth atomic.Value
		_, err := get(t, "", nil, nil, func(_ http.ResponseWriter, r *http.Request) bool {
			_, pw, _ := r.BasicAuth()
			auth.Store(pw)
			return false
		})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(auth.Load()).To(Equal("pw-canary"))
	})
	for name, href := range map[string]string{"Private": "", "Metadata": "http://169.254.169.254/latest", "File": "file:///etc/passwd", "Userinfo": "http://x:y@127.0.0.1/"} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			b, atB := store(t, "")
			_, err := get(t, cmp.Or(href, b), secret, nil, nil)
			g.Expect(errors.Is(err, git.ErrAddressBlocked)).To(BeTrue(), "%v", err)
			g.Expect(err.Error()).NotTo(ContainSubstring("canary"))
			g.Expect(atB()).To(BeEmpty())
		})
	}
	t.Run("RedirectToPrivate", func(t *testing.T) {
		g := NewWithT(t)
		b, atB := store(t, "")
		_, err := get(t, "", nil, nil, func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, b, http.StatusFound)
			return true
		})
		g.Expect(errors.Is(err, git.ErrAddressBlocked)).To(BeTrue(), "%v", err)
		g.Expect(atB()).To(BeEmpty())
	})
}

// GIT-66, GIT-17, GIT-25, N34: a batch and a download are tried again where that
// helps, and given up where nothing comes.
func TestLFSRetries(t *testing.T) {
	batch, object := fault.Match{Route: "lfs-batch"}, fault.Match{Route: "lfs-object"}
	for name, tc := range map[string]struct {
		plan fault.Plan
		want error
		n    int
	}{
		"Batch503":  {fault.Plan{Match: batch, Status: 503, Times: 2}, nil, 3},
		"BatchCut":  {fault.Plan{Match: batch, CutAfter: 10, Times: 1}, nil, 2},
		"BatchRST":  {fault.Plan{Match: batch, RST: true, Times: 1}, nil, 2},
		"BatchGone": {fault.Plan{Match: batch, Status: 403}, git.ErrForbidden, 1},
		"Object502": {fault.Plan{Match: object, Status: 502, Times: 1}, nil, 2},
		"ObjectRST": {fault.Plan{Match: object, RST: true, Times: 1}, nil, 2},
		"Stalled":   {fault.Plan{Match: batch, Stall: 5}, git.ErrStalled, 1},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			e := start(t, gitserver.Options{})
			repo := e.srv.Repo("app")
			large(repo, strings.Repeat("x", 5000))
			e.srv.SetFaults(tc.plan)
			o := e.options(t, false)
			o.HTTP.Attempts = 3
			if tc.want != nil {
				o.HTTP.Stall = 100 * time.Millisecond
			}
			_, err := checkoutLFS(t.Context(), t, repo.URL(), o)
			g.Expect(errors.Is(err, tc.want)).To(BeTrue(), "%v", err)
			g.Expect(e.srv.Count(tc.plan.Match)).To(Equal(tc.n))
		})
	}
}

// GIT-6, GIT-66: a credential that ended is asked for again, once, by the batch
// request and by a download.
func TestLFSTokens(t *testing.T) {
	for _, part := range []string{"/objects/batch", "/app/lfs/"} {
		for _, second := range []string{"two-canary", "one-canary"} {
			g := NewWithT(t)
			e := start(t, gitserver.Options{Auth: gitserver.Auth{Tokens: map[string]string{"one-canary": "ann", "two-canary": "ann"}}})
			repo := e.srv.Repo("app")
			oid := large(repo, "large")[0]
			url := front(t, repo, func(w http.ResponseWriter, r *http.Request) bool {
				switch {
				case strings.Contains(r.URL.Path, part) && r.Header.Get("Authorization") != "Bearer two-canary":
					w.WriteHeader(http.StatusUnauthorized)
				case strings.HasSuffix(r.URL.Path, "/objects/batch"): // an address without headers of its own
					action(w, oid, len("large"), "http://"+r.Host+"/app/lfs/"+oid, nil)
				default:
					return false
				}
				return true
			})
			var asked atomic.Int32
			o := e.options(t, false)
			o.Credentials = func(_ context.Context, r git.CredentialRequest) (git.Credential, error) {
				if r.Retry {
					asked.Add(1)
					return git.Credential{Bearer: git.NewSecret(second)}, nil
				}
				return git.Credential{Bearer: git.NewSecret("one-canary")}, nil
			}
			_, err := checkoutLFS(t.Context(), t, url, o)
			g.Expect(asked.Load()).To(BeEquivalentTo(1), part)
			if second == "two-canary" {
				g.Expect(err).NotTo(HaveOccurred(), part)
				continue
			}
			g.Expect(errors.Is(err, git.ErrAuth)).To(BeTrue(), "%v", err)
			g.Expect(err.Error()).NotTo(ContainSubstring("canary"))
		}
	}
}

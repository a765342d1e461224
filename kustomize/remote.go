// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"errors"
	"io/fs"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/kustomize/internal/limits"
	"github.com/gitops-kit/sdk/kustomize/internal/redact"
)

// kustomize's defaults for what an entry does not say.
const (
	remoteTimeout    = 27 * time.Second
	remoteSubmodules = true
)

// parseRemote recognises the forms of remote entries. Local entries were sorted
// out before: a directory called github.com/x/y is local.
func parseRemote(entry string) (Remote, bool) {
	if strings.ContainsAny(entry, "\n\r\x00") || path.IsAbs(entry) {
		return Remote{}, false
	}
	body, forced := cutFold(entry, "git::")
	if !forced && looksLikeFile(body) {
		return Remote{Kind: RemoteFile, URL: body}, true
	}
	r, ok := parseGit(body)
	if ok {
		return r, true
	}
	if !forced && isHTTP(body) {
		return Remote{Kind: RemoteFile, URL: body}, true
	}
	return Remote{}, false
}

func parseGit(s string) (Remote, bool) {
	s, query, _ := strings.Cut(s, "?")
	r := Remote{Kind: RemoteGit, Submodules: remoteSubmodules, Timeout: remoteTimeout}
	scheme := ""
	for _, p := range []string{"ssh://", "https://", "http://"} {
		if rest, ok := cutFold(s, p); ok {
			scheme, s = p, rest
			break
		}
	}
	user := ""
	if u, rest, ok := strings.Cut(s, "@"); ok && !strings.ContainsAny(u, "/:") {
		user, s = u+"@", rest
	} else if ok && scheme != "" && !strings.Contains(u, "/") {
		user, s = u+"@", rest // user:password
	}
	github := hasFold(s, "github.com/") || hasFold(s, "github.com:")
	scp := scheme == "" && (user != "" || github)
	if scheme == "" && !scp {
		return Remote{}, false
	}
	sep := strings.IndexByte(s, '/')
	if scp {
		if colon := strings.IndexByte(s, ':'); colon > 0 && (sep < 0 || colon < sep) {
			sep = colon
		}
	}
	if sep <= 0 {
		return Remote{}, false
	}
	host, rest := s[:sep+1], s[sep+1:]
	if github && scheme == "" && user == "" {
		scheme, host = "https://", "github.com/"
	}
	repo, dir, ok := splitRepo(rest)
	if !ok {
		return Remote{}, false
	}
	r.URL, r.Path = scheme+user+host+repo, dir
	r.query(query)
	return r, true
}

func (r *Remote) query(query string) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return
	}
	if r.Ref = values.Get("ref"); r.Ref == "" {
		r.Ref = values.Get("version")
	}
	if v := values.Get("timeout"); v != "" {
		if n, err := strconv.Atoi(v); err == nil && n > 0 {
			r.Timeout = time.Duration(n) * time.Second
		} else if d, err := time.ParseDuration(v); err == nil && d > 0 {
			r.Timeout = d
		}
	}
	if b, err := strconv.ParseBool(values.Get("submodules")); err == nil {
		r.Submodules = b
	}
}

// splitRepo splits the path of a Git URL into repository and directory.
func splitRepo(s string) (repo, dir string, ok bool) {
	if i := strings.Index(s, "_git/"); i >= 0 {
		name, rest, _ := strings.Cut(s[i+5:], "/")
		repo, dir = s[:i+5]+name, rest
	} else if before, after, found := strings.Cut(s, "//"); found {
		repo, dir = before, after
	} else if i := strings.Index(s, ".git"); i >= 0 {
		repo, dir = s[:i+4], s[i+4:]
	} else {
		parts := strings.SplitN(s, "/", 3)
		if len(parts) < 2 {
			return "", "", false
		}
		repo = parts[0] + "/" + parts[1]
		if len(parts) == 3 {
			dir = parts[2]
		}
	}
	dir = path.Clean(strings.TrimPrefix(dir, "/"))
	if repo == "" || dir == ".." || strings.HasPrefix(dir, "../") || path.IsAbs(dir) {
		return "", "", false
	}
	if dir == "." {
		dir = ""
	}
	return repo, dir, true
}

// looksLikeFile reports whether an http(s) URL names a manifest.
func looksLikeFile(s string) bool {
	if !isHTTP(s) {
		return false
	}
	u, err := url.Parse(s)
	if err != nil {
		return false
	}
	ext := strings.ToLower(path.Ext(u.Path))
	return (ext == ".yaml" || ext == ".yml" || ext == ".json") &&
		!strings.Contains(strings.TrimPrefix(u.Path, "/"), "//") && !strings.Contains(u.Path, ".git/")
}

func isHTTP(s string) bool { return hasFold(s, "http://") || hasFold(s, "https://") }

func isFileURL(s string) bool {
	s, _ = cutFold(s, "git::")
	return hasFold(s, "file://")
}

func hasFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func cutFold(s, prefix string) (string, bool) {
	if hasFold(s, prefix) {
		return s[len(prefix):], true
	}
	return s, false
}

// label is the entry without credentials, for errors and inputs.
func (r Remote) label() string {
	s := r.URL
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		host, tail, _ := strings.Cut(rest, "/")
		if i := strings.LastIndexByte(host, '@'); i >= 0 {
			host = host[i+1:]
		}
		tail, _, _ = strings.Cut(tail, "?")
		s = scheme + "://" + host + "/" + tail
	} else if i := strings.IndexByte(s, '@'); i >= 0 {
		s = s[i+1:]
	}
	if r.Ref != "" {
		s += "?ref=" + r.Ref
	}
	return redact.Text(s, 512)
}

// mounted is a remote entry that was fetched.
type mounted struct {
	tree *tree
	rel  string
	err  error
}

// mount fetches an entry once per build and adds its tree.
func (l *loader) mount(from *tree, entry string, r Remote) (*tree, string, error) {
	if l.opts.Remote == nil {
		return nil, "", ErrRemote
	}
	if got, ok := l.remotes[entry]; ok {
		return got.tree, got.rel, got.err
	}
	if err := limits.Check("build-remotes", l.lim.Remotes, int64(len(l.remotes))+1); err != nil {
		return nil, "", err
	}
	if err := limits.Check("remote-depth", l.lim.RemoteDepth, int64(from.depth)+1); err != nil {
		return nil, "", err
	}
	got := l.fetch(from, r)
	l.remotes[entry] = got
	return got.tree, got.rel, got.err
}

func (l *loader) fetch(from *tree, r Remote) mounted {
	fsys, rel, err := l.opts.Remote(l.ctx, r)
	if err != nil {
		return mounted{err: external{err}}
	}
	if fsys == nil {
		return mounted{err: external{errors.New("the remote function returned no tree")}}
	}
	if rel == "" {
		rel = "."
	}
	if !fs.ValidPath(rel) {
		return mounted{err: ErrPathEscape}
	}
	t := newTree(fsys, remoteMount+"/"+strconv.Itoa(len(l.trees)-1))
	t.label, t.repo, t.ref, t.depth = r.label(), r.URL, r.Ref, from.depth+1
	l.mu.Lock()
	l.trees = append(l.trees, t)
	l.mu.Unlock()
	return mounted{tree: t, rel: rel}
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/gitops-kit/sdk/git/internal/netguard"
)

const (
	lfsType      = "application/vnd.git-lfs+json"
	lfsBatch     = 100
	lfsParallel  = 4
	maxLFSAnswer = 16 << 20
)

type lfsObject struct {
	OID  string `json:"oid"`
	Size int64  `json:"size"`
}

type lfsRequest struct {
	Operation string      `json:"operation"`
	Transfers []string    `json:"transfers"`
	Objects   []lfsObject `json:"objects"`
	Ref       *lfsRef     `json:"ref,omitempty"`
	HashAlgo  string      `json:"hash_algo"`
}

type lfsRef struct {
	Name string `json:"name"`
}

type lfsAnswer struct {
	Transfer string `json:"transfer"`
	Objects  []struct {
		lfsObject
		Actions map[string]lfsAction `json:"actions"`
		Error   *struct {
			Code int `json:"code"`
		} `json:"error"`
	} `json:"objects"`
}

// lfsAction is an address with the headers that go there and nowhere else.
type lfsAction struct {
	Href   string            `json:"href"`
	Header map[string]string `json:"header"`
}

// fetchLFS downloads and verifies files.
func (c *Client) fetchLFS(ctx context.Context, files []*lfsFile, ref string) error {
	api, err := c.lfsEndpoint(ctx)
	if err != nil {
		return fmt.Errorf("lfs: %w", err)
	}
	for len(files) > 0 {
		n := min(lfsBatch, len(files))
		actions, err := c.lfsActions(ctx, api, files[:n], ref)
		if err != nil {
			return fmt.Errorf("lfs batch: %w", err)
		}
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(lfsParallel)
		for _, f := range files[:n] {
			g.Go(func() error { return c.downloadLFS(gctx, f, actions[f.OID]) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
		files = files[n:]
	}
	return nil
}

// lfsEndpoint is where the batch API lives, with what authenticates there.
func (c *Client) lfsEndpoint(ctx context.Context) (lfsAction, error) {
	if c.url.Scheme != "ssh" {
		u := *c.url
		u.RawQuery = ""
		u.Path, u.RawPath = strings.TrimSuffix(strings.TrimRight(u.Path, "/"), ".git")+".git/info/lfs", ""
		return lfsAction{Href: u.String()}, nil
	}
	var a lfsAction
	var b []byte
	err := c.repeat(ctx, func(int) error {
		l, err := c.openCommand(ctx, "git-lfs-authenticate "+quote(sshPath(c.url))+" download")
		if err != nil {
			return err
		}
		defer l.close()
		b, err = io.ReadAll(io.LimitReader(l.body, 64<<10)) //nolint:forbidigo // bounded
		if err == nil && len(b) == 0 {
			err = l.failed(io.ErrUnexpectedEOF)
		}
		return err
	})
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return a, fmt.Errorf("git-lfs-authenticate: %w", ErrProtocol)
	}
	u, err := url.Parse(a.Href)
	if err != nil || u.Scheme != "https" && (u.Scheme != "http" || u.Hostname() != c.url.Hostname()) || u.User != nil {
		return a, fmt.Errorf("git-lfs-authenticate: address is neither https nor the configured host: %w", ErrAddressBlocked)
	}
	return a, nil
}

func (c *Client) lfsActions(ctx context.Context, api lfsAction, files []*lfsFile, ref string) (map[string]lfsAction, error) {
	req := lfsRequest{Operation: "download", Transfers: []string{"basic"}, HashAlgo: "sha256"}
	if ref != "" {
		req.Ref = &lfsRef{ref}
	}
	for _, f := range files {
		req.Objects = append(req.Objects, lfsObject{f.OID, f.Size})
	}
	body, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	api.Href = strings.TrimRight(api.Href, "/") + "/objects/batch"
	var b []byte
	err = c.repeat(ctx, func(int) error {
		resp, err := c.lfsDo(ctx, http.MethodPost, api, body)
		if err != nil {
			return err
		}
		answer := c.newPatient(resp.Body, func() { _ = resp.Body.Close() })
		answer.packBegins()
		b, err = io.ReadAll(io.LimitReader(answer, maxLFSAnswer+1)) //nolint:forbidigo // bounded
		return errors.Join(err, answer.Close())
	})
	if err != nil {
		return nil, err
	}
	if len(b) > maxLFSAnswer {
		return nil, &LimitError{Name: "lfs-answer", Max: maxLFSAnswer, Got: maxLFSAnswer + 1}
	}
	var answer lfsAnswer
	if err := json.Unmarshal(b, &answer); err != nil || answer.Transfer != "" && answer.Transfer != "basic" {
		return nil, fmt.Errorf("batch answer: %w", ErrProtocol)
	}
	out := map[string]lfsAction{}
	for _, o := range answer.Objects {
		if o.Error != nil {
			return nil, &LFSError{OID: hexOnly(o.OID), Code: o.Error.Code}
		}
		if a, ok := o.Actions["download"]; ok {
			out[o.OID] = a
		}
	}
	return out, nil
}

// hexOnly keeps foreign text out of an error.
func hexOnly(s string) string {
	if len(s) != 64 || strings.Trim(s, "0123456789abcdef") != "" {
		return "unknown"
	}
	return s
}

// lfsDo sends one request to an address that may be another server's. Our own
// credential goes to our own origin only, and only where the server named no
// other. An answer without error is open, the body of any other is closed.
func (c *Client) lfsDo(ctx context.Context, method string, a lfsAction, body []byte) (*http.Response, error) {
	u, err := url.Parse(a.Href)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.User != nil {
		return nil, fmt.Errorf("lfs address: %w", ErrAddressBlocked)
	}
	l := &webLink{c: c, base: u, foreign: c.url.Scheme == "ssh" || netguard.Origin(u) != netguard.Origin(c.url)}
	if !l.foreign {
		if l.cred, err = c.credential(ctx, false); err != nil {
			return nil, err
		}
	}
	for hops := 0; ; hops++ {
		resp, err := l.lfsOnce(ctx, method, u, a.Header, body)
		if err != nil {
			return nil, err
		}
		if !redirects(resp.StatusCode) || method != http.MethodGet {
			again, err := l.lfsStatus(ctx, resp, a.Header)
			if again {
				hops--
				continue
			}
			return resp, err
		}
		_ = resp.Body.Close()
		to, err := resp.Location()
		if err != nil {
			return nil, ErrRedirectBlocked
		}
		same, err := c.http.Redirect(u, to, hops)
		if err != nil {
			return nil, err
		}
		if !same {
			a.Header, l.foreign = nil, true
		}
		u = to
	}
}

func (l *webLink) lfsOnce(ctx context.Context, method string, u *url.URL, header map[string]string, body []byte) (*http.Response, error) {
	t, err := l.transport()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	l.authorize(req.Header)
	for k, v := range header {
		if !strings.EqualFold(k, "Host") && !strings.ContainsAny(k+v, "\r\n") {
			req.Header.Set(k, v)
		}
	}
	req.Header.Set("User-Agent", l.c.agent)
	req.Header.Set("Accept-Encoding", "identity")
	if body != nil {
		req.Header.Set("Accept", lfsType)
		req.Header.Set("Content-Type", lfsType)
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return nil, &transportError{fmt.Errorf("lfs %s %q: %w", method, shown(u), err)}
	}
	return resp, nil
}

// lfsStatus judges an answer. again says that there is another credential to try,
// once, where the server had ours and named no other.
func (l *webLink) lfsStatus(ctx context.Context, resp *http.Response, header map[string]string) (again bool, err error) {
	if resp.StatusCode == http.StatusOK {
		return false, nil
	}
	for k := range header {
		l.retried = l.retried || strings.EqualFold(k, "Authorization")
	}
	again, err = l.judge(ctx, resp, &request{noCheck: true})
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		again = false
	}
	return again, err
}

// downloadLFS fetches one object; it counts only when size and digest fit.
func (c *Client) downloadLFS(ctx context.Context, f *lfsFile, a lfsAction) (err error) {
	if a.Href == "" {
		return &LFSError{OID: f.OID, Code: http.StatusNotFound}
	}
	var resp *http.Response
	err = c.repeat(ctx, func(int) error {
		resp, err = c.lfsDo(ctx, http.MethodGet, a, nil) //nolint:bodyclose // below
		return err
	})
	var status *statusError
	if errors.As(err, &status) {
		return fmt.Errorf("%w: %w", &LFSError{OID: f.OID, Code: status.status}, err)
	}
	if err != nil {
		return err
	}
	body := c.newPatient(resp.Body, func() { _ = resp.Body.Close() })
	body.packBegins()
	defer func() { _ = body.Close() }()
	if resp.ContentLength >= 0 && resp.ContentLength != f.Size {
		return fmt.Errorf("lfs object %s: size %d, want %d: %w", f.OID, resp.ContentLength, f.Size, ErrDigestMismatch)
	}
	out, err := os.OpenFile(f.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, h), io.LimitReader(body, f.Size+1))
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("lfs object %s: %w", f.OID, err)
	}
	if n != f.Size || hex.EncodeToString(h.Sum(nil)) != f.OID {
		return errors.Join(fmt.Errorf("lfs object %s: %w", f.OID, ErrDigestMismatch), os.Remove(f.name))
	}
	return nil
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package s3_test

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"

	"github.com/gitops-kit/sdk/testserver/s3"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type listing struct {
	KeyCount              int
	IsTruncated           bool
	NextContinuationToken string
	Contents              []struct{ Key, ETag string }
	CommonPrefixes        []struct{ Prefix string }
}

func get(t *testing.T, s *s3.Server, path, host string, header ...string) (int, string) {
	t.Helper()
	c := s.Client()
	defer c.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if host != "" {
		r.Host = host
	}
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
	return resp.StatusCode, string(b)
}

// TST-23
func TestListAndRead(t *testing.T) {
	g := NewWithT(t)
	s := s3.Start(t, s3.Options{Domain: "s3.example", PageSize: 2})
	for _, k := range []string{"a.yaml", "d/1.yaml", "d/2.yaml", "d/sub/3.yaml", "z & z.yaml"} {
		s.Put("bucket", k, []byte("content of "+k))
	}
	var keys []string
	for token, pages := "", 0; ; pages++ {
		status, body := get(t, s, "/bucket/?list-type=2&continuation-token="+url.QueryEscape(token), "")
		g.Expect(status).To(Equal(200))
		var l listing
		g.Expect(xml.Unmarshal([]byte(body), &l)).To(Succeed())
		for _, c := range l.Contents {
			keys = append(keys, c.Key)
		}
		if token = l.NextContinuationToken; !l.IsTruncated {
			g.Expect(pages).To(Equal(2))
			break
		}
	}
	g.Expect(keys).To(Equal([]string{"a.yaml", "d/1.yaml", "d/2.yaml", "d/sub/3.yaml", "z & z.yaml"}))

	_, body := get(t, s, "/?list-type=2&prefix=d/&delimiter=/&start-after=d/1.yaml", "bucket.s3.example:9000")
	var l listing
	g.Expect(xml.Unmarshal([]byte(body), &l)).To(Succeed())
	g.Expect(l.Contents).To(HaveLen(1))
	g.Expect(l.CommonPrefixes).To(HaveLen(1))
	g.Expect(l.CommonPrefixes[0].Prefix).To(Equal("d/sub/"))

	status, body := get(t, s, "/d/sub/3.yaml", "bucket.s3.example")
	g.Expect(status).To(Equal(200))
	g.Expect(body).To(Equal("content of d/sub/3.yaml"))
	status, body = get(t, s, "/bucket/none", "")
	g.Expect(status).To(Equal(404))
	g.Expect(body).To(ContainSubstring("<Code>NoSuchKey</Code>"))
	status, body = get(t, s, "/none/?list-type=2", "")
	g.Expect(status).To(Equal(404))
	g.Expect(body).To(ContainSubstring("<Code>NoSuchBucket</Code>"))
	g.Expect(s.Count(s3.Match{Route: "list"})).To(Equal(5))
	s.Delete("bucket", "a.yaml")
	status, _ = get(t, s, "/bucket/a.yaml", "")
	g.Expect(status).To(Equal(404))
}

// The example that AWS publishes with its signature: GET of a range of test.txt.
const published = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request," +
	"SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"

// TST-23
func TestSignature(t *testing.T) {
	now := time.Date(2013, 5, 24, 0, 5, 0, 0, time.UTC)
	cred := s3.Credential{AccessKey: "AKIAIOSFODNN7EXAMPLE", SecretKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	cases := map[string]struct {
		reason string
		cred   s3.Credential
		now    time.Time
		header []string
		status int
		code   string
	}{
		"Published": {reason: "the published example", cred: cred, now: now, status: 206},
		"Secret":    {reason: "another secret", cred: s3.Credential{AccessKey: cred.AccessKey, SecretKey: "x"}, now: now, status: 403, code: "SignatureDoesNotMatch"},
		"Key":       {reason: "another key", cred: s3.Credential{AccessKey: "x", SecretKey: "x"}, now: now, status: 403, code: "InvalidAccessKeyId"},
		"Skew":      {reason: "an hour late", cred: cred, now: now.Add(time.Hour), status: 403, code: "RequestTimeTooSkewed"},
		"Changed":   {reason: "a signed header changed", cred: cred, now: now, header: []string{"Range", "bytes=0-99"}, status: 403, code: "SignatureDoesNotMatch"},
		"Unsigned":  {reason: "no signature", cred: cred, now: now, header: []string{"Authorization", ""}, status: 403, code: "AccessDenied"},
		"Session":   {reason: "session token missing", cred: s3.Credential{AccessKey: cred.AccessKey, SecretKey: cred.SecretKey, SessionToken: "t"}, now: now, status: 403, code: "InvalidToken"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := s3.Start(t, s3.Options{Domain: "s3.amazonaws.com", Credentials: []s3.Credential{tc.cred}, Now: func() time.Time { return tc.now }})
			s.Put("examplebucket", "test.txt", []byte("0123456789abcdef"))
			header := append([]string{
				"Range", "bytes=0-9", "X-Amz-Date", "20130524T000000Z",
				"X-Amz-Content-Sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "Authorization", published,
			}, tc.header...)
			status, body := get(t, s, "/test.txt", "examplebucket.s3.amazonaws.com", header...)
			g.Expect(status).To(Equal(tc.status), "%s: %s", tc.reason, body)
			if tc.code != "" {
				g.Expect(body).To(ContainSubstring("<Code>" + tc.code + "</Code>"))
			}
		})
	}
}

// TST-7, TST-23: curl's own implementation of the signature is accepted.
func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("missing program: curl (apt-get install curl)")
		}
		t.Skip("missing program: curl (apt-get install curl)")
	}
	g := NewWithT(t)
	s := s3.Start(t, s3.Options{Region: "eu-test-1", Credentials: []s3.Credential{{AccessKey: "AK", SecretKey: "canary"}}})
	s.Put("bucket", "d/a.yaml", []byte("hello"))
	run := func(secret, path string) string {
		out, err := exec.CommandContext(t.Context(), curl, "-s", "--noproxy", "*", "--aws-sigv4", "aws:amz:eu-test-1:s3", "--user", "AK:"+secret, s.URL()+path).Output()
		g.Expect(err).NotTo(HaveOccurred())
		return string(out)
	}
	g.Expect(run("canary", "/bucket/d/a.yaml")).To(Equal("hello"))
	g.Expect(run("wrong", "/bucket/d/a.yaml")).To(ContainSubstring("SignatureDoesNotMatch"))
	g.Expect(s.Log()[0].User).To(Equal("AK"))
}

func ExampleServer_Put() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	store, err := s3.Run(ctx, s3.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Stop()
	etag := store.Put("bucket", "deploy.yaml", []byte("kind: Deployment\n"))
	c := store.Client()
	defer c.CloseIdleConnections()
	resp, err := c.Get(store.URL() + "/bucket/deploy.yaml")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status, resp.Header.Get("ETag") == etag)
	// Output: 200 OK true
}

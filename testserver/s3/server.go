// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package s3

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/internal/sigv4"
	"github.com/gitops-kit/sdk/testserver/record"
	"github.com/gitops-kit/sdk/testserver/serve"
)

// maxKeys is the largest page of a listing.
const maxKeys = 1000

// Request is an entry of the server's log.
type Request = record.Request

// Match selects entries of the log and requests for fault plans.
type Match = record.Match

// Credential is an access key with its secret and, for temporary ones, the
// session token that must come with the request.
type Credential = sigv4.Credential

// Options configure a [Server]. The zero value is an open server over plain HTTP.
type Options struct {
	// TLS serves HTTPS; RequireClientCert demands client certificates and implies TLS.
	TLS, RequireClientCert bool
	// Hosts are further names in the TLS certificate.
	Hosts []string
	// Domain is the domain below which hosts are buckets: with "s3.example",
	// "b.s3.example" is the bucket b. Zero: path style only.
	Domain string
	// Region that signatures must name; zero: "us-east-1".
	Region string
	// Credentials that may read; empty: everybody.
	Credentials []Credential
	// Now is the clock signatures are judged by; nil: time.Now.
	Now func() time.Time
	// PageSize is the largest page of a listing; 0 or more than 1,000: 1,000.
	PageSize int
	// Faults are the plans to begin with. Routes are "list", "object", "bucket".
	Faults []fault.Plan
}

// Server is an object store. It is safe for concurrent use.
type Server struct {
	*serve.Server
	opts    Options
	mu      sync.Mutex
	creds   []Credential
	buckets map[string]map[string]object
}

type object struct {
	body []byte
	etag string
	when time.Time
}

// Start runs a server for the length of a test.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	s, err := Run(context.WithoutCancel(tb.Context()), o)
	if err != nil {
		tb.Fatalf("start object store: %v", err)
	}
	serve.Cleanup(tb, s.Stop, s.Tail)
	return s
}

// Run starts a server that ends with ctx or Stop.
func Run(ctx context.Context, o Options) (*Server, error) {
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.PageSize <= 0 || o.PageSize > maxKeys {
		o.PageSize = maxKeys
	}
	s := &Server{opts: o, creds: o.Credentials, buckets: map[string]map[string]object{}}
	h, err := serve.Listen(ctx, http.HandlerFunc(s.serve), serve.Options{
		TLS: o.TLS, RequireClientCert: o.RequireClientCert, Hosts: o.Hosts, Faults: o.Faults,
		Route: func(r *http.Request) string {
			bucket, key := s.target(r)
			switch {
			case key != "":
				return "object"
			case bucket != "" && r.URL.Query().Get("list-type") != "":
				return "list"
			case bucket != "":
				return "bucket"
			}
			return ""
		},
	})
	if err != nil {
		return nil, err
	}
	s.Server = h
	h.Serve()
	return s, nil
}

// SetCredentials replaces the credentials.
func (s *Server) SetCredentials(c ...Credential) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.creds = c
}

// CreateBucket makes an empty bucket.
func (s *Server) CreateBucket(bucket string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets[bucket] == nil {
		s.buckets[bucket] = map[string]object{}
	}
}

// Put stores an object, makes its bucket if there is none, and returns the ETag
// with its quotes.
func (s *Server) Put(bucket, key string, body []byte) string {
	s.CreateBucket(bucket)
	sum := md5.Sum(body)
	o := object{body: bytes.Clone(body), etag: `"` + hex.EncodeToString(sum[:]) + `"`, when: s.opts.Now().UTC().Truncate(time.Second)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets[bucket][key] = o
	return o.etag
}

// Delete removes an object.
func (s *Server) Delete(bucket, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.buckets[bucket], key)
}

// target returns bucket and key of a request.
func (s *Server) target(r *http.Request) (bucket, key string) {
	host := r.Host
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	p := strings.TrimPrefix(r.URL.Path, "/")
	if b, ok := strings.CutSuffix(host, "."+s.opts.Domain); ok && s.opts.Domain != "" {
		return b, p
	}
	bucket, key, _ = strings.Cut(p, "/")
	return bucket, key
}

type xmlError struct {
	XMLName  xml.Name `xml:"Error"`
	Code     string
	Message  string
	Resource string
}

func fail(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(xml.Header))
		_ = xml.NewEncoder(w).Encode(xmlError{Code: code, Message: message, Resource: r.URL.Path})
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Amz-Request-Id", "TESTREQUEST")
	bucket, key := s.target(r)
	s.mu.Lock()
	creds := s.creds
	objects, known := s.buckets[bucket]
	objects = maps.Clone(objects)
	s.mu.Unlock()
	if len(creds) > 0 {
		user, e := sigv4.Verify(r, sigv4.Options{Service: "s3", Region: s.opts.Region, Credentials: creds, Now: s.opts.Now()})
		if e != nil {
			fail(w, r, e.Status, e.Code, e.Message)
			return
		}
		serve.SetUser(r.Context(), user)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		fail(w, r, http.StatusMethodNotAllowed, "MethodNotAllowed", "only reading is supported")
		return
	}
	switch {
	case bucket == "":
		fail(w, r, http.StatusNotImplemented, "NotImplemented", "listing buckets is not supported")
	case !known:
		fail(w, r, http.StatusNotFound, "NoSuchBucket", "the bucket does not exist")
	case key != "":
		s.object(w, r, objects, key)
	case r.Method == http.MethodHead:
		w.Header().Set("X-Amz-Bucket-Region", s.opts.Region)
	case r.URL.Query().Has("location"):
		w.Header().Set("Content-Type", "application/xml")
		_, _ = w.Write([]byte(xml.Header + `<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">` + s.opts.Region + `</LocationConstraint>`))
	case r.URL.Query().Get("list-type") == "2":
		s.list(w, r, bucket, objects)
	default:
		fail(w, r, http.StatusNotImplemented, "NotImplemented", "only list-type=2 is supported")
	}
}

func (s *Server) object(w http.ResponseWriter, r *http.Request, objects map[string]object, key string) {
	o, ok := objects[key]
	if !ok {
		fail(w, r, http.StatusNotFound, "NoSuchKey", "the key does not exist")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("ETag", o.etag)
	http.ServeContent(w, r, "", o.when, bytes.NewReader(o.body))
}

type listResult struct {
	XMLName               xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
	Name                  string
	Prefix                string
	Delimiter             string `xml:",omitempty"`
	StartAfter            string `xml:",omitempty"`
	ContinuationToken     string `xml:",omitempty"`
	NextContinuationToken string `xml:",omitempty"`
	EncodingType          string `xml:",omitempty"`
	KeyCount, MaxKeys     int
	IsTruncated           bool
	Contents              []listObject
	CommonPrefixes        []listPrefix
}

type listObject struct {
	Key          string
	LastModified string
	ETag         string
	Size         int
	StorageClass string
}

type listPrefix struct{ Prefix string }

func (s *Server) list(w http.ResponseWriter, r *http.Request, bucket string, objects map[string]object) {
	q := r.URL.Query()
	limit := s.opts.PageSize
	if n, err := strconv.Atoi(q.Get("max-keys")); err == nil && n >= 0 {
		limit = min(limit, n)
	}
	after := q.Get("start-after")
	if t := q.Get("continuation-token"); t != "" {
		b, err := base64.RawURLEncoding.DecodeString(t)
		if err != nil {
			fail(w, r, http.StatusBadRequest, "InvalidArgument", "the continuation token is not valid")
			return
		}
		after = string(b)
	}
	enc := func(k string) string { return k }
	if q.Get("encoding-type") == "url" {
		enc = func(k string) string { return strings.ReplaceAll(url.QueryEscape(k), "%2F", "/") }
	}
	prefix, delim := q.Get("prefix"), q.Get("delimiter")
	res := listResult{
		Name: bucket, Prefix: enc(prefix), Delimiter: delim, StartAfter: q.Get("start-after"), MaxKeys: limit,
		ContinuationToken: q.Get("continuation-token"), EncodingType: q.Get("encoding-type"),
	}
	last := ""
	for _, k := range slices.Sorted(maps.Keys(objects)) {
		rest, ok := strings.CutPrefix(k, prefix)
		if !ok || k <= after {
			continue
		}
		group := ""
		if delim != "" {
			if i := strings.Index(rest, delim); i >= 0 {
				group = prefix + rest[:i+len(delim)]
			}
		}
		if group != "" && (group <= after || strings.HasPrefix(last, group)) {
			continue // already listed
		}
		if res.KeyCount >= limit {
			res.IsTruncated = true
			res.NextContinuationToken = base64.RawURLEncoding.EncodeToString([]byte(last))
			break
		}
		res.KeyCount++
		if group != "" {
			last = group + "\U0010ffff"
			res.CommonPrefixes = append(res.CommonPrefixes, listPrefix{enc(group)})
			continue
		}
		last = k
		o := objects[k]
		res.Contents = append(res.Contents, listObject{
			Key: enc(k), LastModified: o.when.Format("2006-01-02T15:04:05.000Z"), ETag: o.etag, Size: len(o.body), StorageClass: "STANDARD",
		})
	}
	w.Header().Set("Content-Type", "application/xml")
	_, _ = w.Write([]byte(xml.Header))
	_ = xml.NewEncoder(w).Encode(res)
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Filter selects requests; an empty field matches all.
type Filter struct {
	// Verb is the Kubernetes verb: get, list, watch, create, update, patch,
	// delete, deletecollection.
	Verb string
	// Group and Resource are as in the URL; Resource may be "deployments" or
	// "deployments/status". Without a subresource it matches the object only.
	Group, Resource string
	// Namespace and Name of the object.
	Namespace, Name string
	// User is the user name, UserAgent the first words of the user agent, such
	// as "kubectl", or [Cluster.UserAgent] for the requests of this test and
	// of its subtests.
	User, UserAgent string
	// Match, if set, decides about what the fields let through.
	Match func(Request) bool
}

// Request is a request that the API server answered, or a watch that it began
// to answer.
type Request struct {
	Time                                       time.Time
	Verb                                       string
	Group, Version, Resource, Subresource      string
	Namespace, Name                            string
	User, ImpersonatedUser, UserAgent, URI, ID string
	Groups                                     []string
	Code                                       int
	RequestObject, ResponseObject              json.RawMessage
}

// matches reports whether f selects r.
func (f Filter) matches(r Request) bool {
	resource := r.Resource
	if r.Subresource != "" {
		resource += "/" + r.Subresource
	}
	is := func(want, got string) bool { return want == "" || want == got }
	return is(f.Verb, r.Verb) && is(f.Group, r.Group) && is(f.Resource, resource) &&
		is(f.Namespace, r.Namespace) && is(f.Name, r.Name) && is(f.User, r.User) &&
		beginsWith(r.UserAgent, f.UserAgent) && (f.Match == nil || f.Match(r))
}

// beginsWith says whether the user agent begins with words: "TestA" is no
// beginning of "TestAB", but of "TestA/one" and "TestA (linux)".
func beginsWith(agent, words string) bool {
	rest, ok := strings.CutPrefix(agent, words)
	return ok && (words == "" || rest == "" || strings.ContainsAny(rest[:1], "/ (;"))
}

// needles are texts that the line of every request that f selects contains:
// what does not is not worth being parsed.
func (f Filter) needles() [][]byte {
	resource, _, _ := strings.Cut(f.Resource, "/")
	var all [][]byte
	for _, text := range []string{f.UserAgent, f.Verb, f.Group, resource, f.Namespace, f.Name, f.User} {
		if text != "" && strings.IndexFunc(text, escaped) < 0 {
			all = append(all, []byte(text))
		}
	}
	return all
}

// escaped says whether JSON may write r in another way.
func escaped(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"\<>&`, r) }

// Recorder holds the requests since it was made. It is safe for concurrent use.
type Recorder struct {
	tb     testing.TB
	file   string
	filter Filter
	// needles of filter, all of which a line has to contain
	needles [][]byte

	mu     sync.Mutex
	offset int64
	all    []Request
	open   map[string]bool // audit ids of watches seen already
}

// Requests records the requests selected by f from now on, from the API
// server's audit log: a request is in it when its reply arrives. It needs
// [Options.Audit].
func (c *Cluster) Requests(tb testing.TB, f Filter) *Recorder {
	tb.Helper()
	if c.s.dataDir == "" || !c.s.o.Audit {
		tb.Fatal("kube: Requests needs kube.Options{Audit: true} and a control plane of ours")
	}
	r := &Recorder{tb: tb, file: filepath.Join(c.s.dataDir, auditFile), filter: f, needles: f.needles(), open: map[string]bool{}}
	info, err := os.Stat(r.file)
	if err != nil {
		tb.Fatalf("kube: audit log: %v", err)
	}
	r.offset = info.Size()
	return r
}

// Count returns the number of requests so far.
func (r *Recorder) Count() int { return len(r.Requests()) }

// Requests returns the requests so far, in the order in which they ended.
func (r *Recorder) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.read(); err != nil {
		r.tb.Errorf("kube: audit log: %v", err)
	}
	return slices.Clone(r.all)
}

// Since returns the requests that arrived at the server after a time.
func (r *Recorder) Since(begin time.Time) []Request {
	all := r.Requests()
	return slices.DeleteFunc(all, func(q Request) bool { return !q.Time.After(begin) })
}

// Reset forgets the requests so far.
func (r *Recorder) Reset() {
	r.Requests()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = nil
}

// auditEvent is the part of an audit event that is used.
type auditEvent struct {
	AuditID    string `json:"auditID"`
	Stage      string `json:"stage"`
	Verb       string `json:"verb"`
	RequestURI string `json:"requestURI"`
	UserAgent  string `json:"userAgent"`
	User       struct {
		Username string   `json:"username"`
		Groups   []string `json:"groups"`
	} `json:"user"`
	ImpersonatedUser struct {
		Username string `json:"username"`
	} `json:"impersonatedUser"`
	ObjectRef struct {
		Resource    string `json:"resource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
		APIGroup    string `json:"apiGroup"`
		APIVersion  string `json:"apiVersion"`
		Subresource string `json:"subresource"`
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	RequestReceivedTimestamp time.Time       `json:"requestReceivedTimestamp"`
	RequestObject            json.RawMessage `json:"requestObject"`
	ResponseObject           json.RawMessage `json:"responseObject"`
}

// read takes the complete lines that were added to the log. The caller holds
// the lock.
func (r *Recorder) read() error {
	f, err := os.Open(r.file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Seek(r.offset, io.SeekStart); err != nil {
		return err
	}
	lines := bufio.NewReaderSize(f, 64<<10)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil // an incomplete line is read the next time
		}
		if err != nil {
			return err
		}
		r.offset += int64(len(line))
		if err := r.add(line); err != nil {
			return err
		}
	}
}

func (r *Recorder) add(line []byte) error {
	if len(bytes.TrimSpace(line)) == 0 {
		return nil
	}
	for _, needle := range r.needles {
		if !bytes.Contains(line, needle) {
			return nil
		}
	}
	var e auditEvent
	if err := json.Unmarshal(line, &e); err != nil {
		return err
	}
	switch {
	case e.Stage == "ResponseStarted":
		r.open[e.AuditID] = true
	case r.open[e.AuditID]: // the end of a watch, counted at its start
		delete(r.open, e.AuditID)
		return nil
	}
	q := Request{
		Time: e.RequestReceivedTimestamp, Verb: e.Verb,
		Group: e.ObjectRef.APIGroup, Version: e.ObjectRef.APIVersion,
		Resource: e.ObjectRef.Resource, Subresource: e.ObjectRef.Subresource,
		Namespace: e.ObjectRef.Namespace, Name: e.ObjectRef.Name,
		User: e.User.Username, Groups: e.User.Groups, ImpersonatedUser: e.ImpersonatedUser.Username,
		UserAgent: e.UserAgent, URI: e.RequestURI, ID: e.AuditID,
		Code: e.ResponseStatus.Code, RequestObject: e.RequestObject, ResponseObject: e.ResponseObject,
	}
	if r.filter.matches(q) {
		r.all = append(r.all, q)
	}
	return nil
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// The files of a saved history.
const (
	FactsFile = "history.jsonl.gz"
	OpsFile   = "ops.json"
	EnvFile   = "env.json"
)

// maxLine bounds a line of a saved history.
const maxLine = 16 << 20

// Fact is one thing that was seen.
type Fact struct {
	// Seq numbers the facts of a run from 1.
	Seq int64 `json:"seq"`
	// T is the monotonic time since the run's start.
	T time.Duration `json:"t"`
	// Actor is who did it: process and identity.
	Actor string `json:"actor,omitempty"`
	// Src is who saw it: "audit", "watch", "git", "registry", "sink", "store",
	// "sample", or "claim" for what the code under test said.
	Src string `json:"src"`
	// Verb is what was done.
	Verb string `json:"verb,omitempty"`
	// GVK, NS, Name, UID name the object.
	GVK  string `json:"gvk,omitempty"`
	NS   string `json:"ns,omitempty"`
	Name string `json:"name,omitempty"`
	UID  string `json:"uid,omitempty"`
	// RVBefore and RVAfter are resource versions, Generation the object's.
	RVBefore   string `json:"rvBefore,omitempty"`
	RVAfter    string `json:"rvAfter,omitempty"`
	Generation int64  `json:"generation,omitempty"`
	// Managers are field managers.
	Managers []string `json:"managers,omitempty"`
	// Result and Code are the outcome.
	Result string `json:"result,omitempty"`
	Code   int    `json:"code,omitempty"`
	// Rev and Digest are a source revision and content.
	Rev    string `json:"rev,omitempty"`
	Digest string `json:"digest,omitempty"`
	// Run is the reconcile run it belongs to.
	Run string `json:"run,omitempty"`
	// Note is anything else, for people.
	Note string `json:"note,omitempty"`
}

// History is the facts of a run in order.
type History []Fact

// Recorder collects facts. Use [NewRecorder].
type Recorder struct {
	mu    sync.Mutex
	start time.Time
	key   []byte
	facts History
}

// NewRecorder starts a run now.
func NewRecorder() *Recorder {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return &Recorder{start: time.Now(), key: key}
}

// Add records a fact and returns it with number and time.
func (r *Recorder) Add(f Fact) Fact {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.Seq, f.T = int64(len(r.facts)+1), time.Since(r.start)
	r.facts = append(r.facts, f)
	return f
}

// Now returns the time since the run's start.
func (r *Recorder) Now() time.Duration { return time.Since(r.start) }

// Secret returns what stands for a secret value in this run's facts.
func (r *Recorder) Secret(v string) string {
	h := hmac.New(sha256.New, r.key)
	h.Write([]byte(v))
	return "hmac:" + hex.EncodeToString(h.Sum(nil)[:12])
}

// Body returns what stands for a body.
func Body(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// History returns the facts so far.
func (r *Recorder) History() History {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.facts)
}

// Save writes a history into a directory, with ops (seed, operations, faults)
// and env (versions, flags) as JSON beside it; nil leaves a file out.
func (h History) Save(dir string, ops, env any) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("save history: %w", err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	enc := json.NewEncoder(z)
	for _, f := range h {
		if err := enc.Encode(f); err != nil {
			return fmt.Errorf("save history: %w", err)
		}
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("save history: %w", err)
	}
	err := os.WriteFile(filepath.Join(dir, FactsFile), b.Bytes(), 0o600)
	for name, v := range map[string]any{OpsFile: ops, EnvFile: env} {
		if v == nil {
			continue
		}
		j, jerr := json.MarshalIndent(v, "", "  ")
		err = errors.Join(err, jerr, os.WriteFile(filepath.Join(dir, name), append(j, '\n'), 0o600))
	}
	if err != nil {
		return fmt.Errorf("save history: %w", err)
	}
	return nil
}

// Load reads a saved history.
func Load(dir string) (History, error) {
	f, err := os.Open(filepath.Join(dir, FactsFile))
	if err != nil {
		return nil, fmt.Errorf("load history: %w", err)
	}
	defer func() { _ = f.Close() }()
	h, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("load history: %w", err)
	}
	return h, nil
}

// Read reads the compressed form of a history.
func Read(r io.Reader) (History, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	var h History
	sc := bufio.NewScanner(z)
	sc.Buffer(nil, maxLine)
	for sc.Scan() {
		var f Fact
		if err := json.Unmarshal(sc.Bytes(), &f); err != nil {
			return nil, fmt.Errorf("line %d: %w", len(h)+1, err)
		}
		h = append(h, f)
	}
	return h, sc.Err()
}

// Violation is a broken promise.
type Violation struct {
	// Rule is the promise, such as "I5".
	Rule string
	// Text says what happened.
	Text string
	// Facts are the numbers of the facts that show it.
	Facts []int64
}

// String returns the rule, the text and the facts.
func (v Violation) String() string { return fmt.Sprintf("%s: %s %v", v.Rule, v.Text, v.Facts) }

// Checker judges a history. It is a pure function.
type Checker func(History) []Violation

// Check runs checkers and returns all violations.
func (h History) Check(checkers ...Checker) []Violation {
	var out []Violation
	for _, c := range checkers {
		out = append(out, c(h)...)
	}
	return out
}

// writes are the verbs that change an object.
func writes(verb string) bool {
	switch verb {
	case "create", "update", "patch", "apply", "delete", "deletecollection":
		return true
	}
	return false
}

// Quiet checks I5 and I12: between from and to none of the actors changed
// anything, by the audit log. An actor is matched by prefix.
func Quiet(from, to time.Duration, actors ...string) Checker {
	return func(h History) []Violation {
		var out []Violation
		for _, f := range h {
			if f.Src != "audit" || f.T < from || f.T > to || !writes(f.Verb) {
				continue
			}
			if slices.ContainsFunc(actors, func(a string) bool { return strings.HasPrefix(f.Actor, a) }) {
				out = append(out, Violation{"I5", fmt.Sprintf("%s %s %s/%s by %s in a quiet window", f.Verb, f.GVK, f.NS, f.Name, f.Actor), []int64{f.Seq}})
			}
		}
		return out
	}
}

// Canary checks I10: none of the secrets, nor its base64, hexadecimal or
// URL-encoded form, is in any text of a fact.
func Canary(secrets ...string) Checker {
	type form struct{ name, text string }
	var forms []form
	for _, s := range secrets {
		forms = append(forms, form{"plain", s}, form{"hex", hex.EncodeToString([]byte(s))}, form{"URL", url.QueryEscape(s)},
			form{"base64", strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(s)), "=")})
	}
	return func(h History) []Violation {
		var out []Violation
		for _, f := range h {
			text, _ := json.Marshal(f) // strings and numbers only
			for _, x := range forms {
				if strings.Contains(string(text), x.text) {
					out = append(out, Violation{"I10", "a secret in " + x.name + " form", []int64{f.Seq}})
					break
				}
			}
		}
		return out
	}
}

// Atomic checks I3: every download had the digest of something published
// before, and no reader saw an older publication after a newer one. Downloads
// are facts with the verb "download", publications with "publish".
func Atomic(h History) []Violation {
	type published struct {
		order int
		seq   int64
	}
	type object struct{ gvk, ns, name string }
	known := map[object]map[string]published{}
	seen := map[string]published{}
	var out []Violation
	for _, f := range h {
		o := object{f.GVK, f.NS, f.Name}
		switch f.Verb {
		case "publish":
			if known[o] == nil {
				known[o] = map[string]published{}
			}
			known[o][f.Digest] = published{len(known[o]), f.Seq}
		case "download":
			p, ok := known[o][f.Digest]
			key := f.Actor + "\x00" + f.GVK + "\x00" + f.NS + "\x00" + f.Name
			last, again := seen[key]
			switch {
			case !ok:
				out = append(out, Violation{"I3", fmt.Sprintf("%s got %s, which was never published", f.Actor, f.Digest), []int64{f.Seq}})
			case again && p.order < last.order:
				out = append(out, Violation{"I3", f.Actor + " went back to an older artifact", []int64{last.seq, f.Seq}})
			default:
				seen[key] = published{p.order, f.Seq}
			}
		}
	}
	return out
}

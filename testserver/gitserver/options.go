// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver

import (
	"io"
	"net/http"
	"path"
	"slices"

	"github.com/gitops-kit/sdk/testserver/fault"
)

// agent is what the server calls itself.
const agent = "gitops-kit-testserver/1"

// Backend chooses who speaks the protocol.
type Backend int

const (
	// InProcess is this package's own implementation: every switch, hook,
	// hostile mode and counter works.
	InProcess Backend = iota
	// Exec is the git program (git http-backend as a CGI program, and OpenSSH's
	// sshd with git-shell): the reference, with few switches.
	Exec
)

// Options configure a [Server]. The zero value is an in-process server over
// plain HTTP, open to everybody, with every capability.
type Options struct {
	// Backend; zero: InProcess.
	Backend Backend
	// TLS serves HTTPS; RequireClientCert demands client certificates and implies TLS.
	TLS, RequireClientCert bool
	// HTTP2 offers HTTP/2 over TLS.
	HTTP2 bool
	// IPv6 listens on ::1 instead of 127.0.0.1.
	IPv6 bool
	// SSH starts an SSH server beside the HTTP server; nil: none.
	SSH *SSHOptions
	// Auth guards the repositories; the zero value lets everybody in.
	Auth Auth
	// ObjectFormat of new repositories; zero: SHA1.
	ObjectFormat ObjectFormat
	// MaxVersion is the newest protocol version spoken; zero: 2. V0Only speaks
	// version 0 and not even version 1.
	MaxVersion int
	// V0Only ignores every request for a newer protocol.
	V0Only bool
	// Repo are the options every new repository starts with.
	Repo RepoOptions
	// Faults are the plans to begin with. Routes are "info-refs", "upload-pack",
	// "receive-pack", "lfs-batch", "lfs-object"; over SSH the method is "SSH".
	Faults []fault.Plan
	// Hosts are further names in the TLS certificate.
	Hosts []string
}

// Capabilities switch protocol capabilities. False is what the git program's
// server does, except that filters are on.
type Capabilities struct {
	// NoShallow takes shallow and all deepen requests away, NoDeepenSince
	// deepen-since and deepen-not, NoDeepenRelative deepen-relative.
	NoShallow, NoDeepenSince, NoDeepenRelative bool
	// NoFilter takes partial clone away.
	NoFilter bool
	// NoOfsDelta and NoThinPack restrict packs in both directions.
	NoOfsDelta, NoThinPack bool
	// NoSideBand sends bare packs; NoSideBand64k leaves the 1,000-byte side band.
	NoSideBand, NoSideBand64k bool
	// NoMultiAck leaves the oldest negotiation, MultiAckOnly the middle one.
	NoMultiAck, MultiAckOnly bool
	// NoNoDone, NoProgress, NoIncludeTag, NoSymref take one capability each.
	NoNoDone, NoProgress, NoIncludeTag, NoSymref bool
	// AllowTipSHA1 and AllowReachableSHA1 let versions 0 and 1 ask for ids that
	// are not advertised.
	AllowTipSHA1, AllowReachableSHA1 bool
	// NoAnySHA1InV2 makes version 2 refuse what is not advertised, too.
	NoAnySHA1InV2 bool
	// NoObjectFormat, NoUnborn, NoObjectInfo, NoWaitForDone, NoServerOption take
	// one capability each; RefInWant adds one.
	NoObjectFormat, NoUnborn, NoObjectInfo, NoWaitForDone, NoServerOption, RefInWant bool
	// NoReportStatus leaves pushes unanswered; NoReportStatusV2 the first form.
	NoReportStatus, NoReportStatusV2 bool
	// NoAtomic, NoPushOptions, NoDeleteRefs take one capability of pushes each.
	NoAtomic, NoPushOptions, NoDeleteRefs bool
}

// DeltaMode chooses how packs are encoded.
type DeltaMode int

const (
	// NoDeltas sends whole objects.
	NoDeltas DeltaMode = iota
	// Deltas sends later versions of a path as deltas against earlier ones.
	Deltas
)

// RawRef is an advertised line that need not be valid.
type RawRef struct {
	Name string
	ID   Hash
}

// RepoOptions configure a [Repo] and may be changed while the server runs with
// [Repo.Configure].
type RepoOptions struct {
	// Capabilities of the protocol.
	Capabilities Capabilities
	// Deltas chooses the encoding of packs; DeltaDepth is the longest chain,
	// zero: 50.
	Deltas     DeltaMode
	DeltaDepth int
	// Progress is sent in the second side band before each pack.
	Progress string

	// Hidden are patterns (path.Match) of references that are neither
	// advertised nor pushable.
	Hidden []string
	// Protected are patterns of references that nobody may push, except Maintainers.
	Protected   []string
	Maintainers []string
	// DenyNonFastForward refuses forced pushes.
	DenyNonFastForward bool
	// ReadOnly refuses all pushes with 403.
	ReadOnly bool

	// PreReceive may refuse a whole push; its error goes to the pusher. It runs
	// before objects and references change.
	PreReceive func(*Repo, []Update) error
	// PostReceive runs after a push has changed something.
	PostReceive func(*Repo, []Update)
	// BetweenListAndFetch runs after each reference listing was sent.
	BetweenListAndFetch func(*Repo)

	// RawRefs are advertised besides the real references, unchecked.
	RawRefs []RawRef
	// ServePack writes any bytes in place of each pack.
	ServePack func(io.Writer) error
	// LFS bends the answers of the LFS API.
	LFS LFSOptions
	// EndlessRefs never ends a listing.
	EndlessRefs bool
	// Lenient leaves objects that are not there out of packs; without it a fetch
	// of an incomplete history is refused.
	Lenient bool
	// BandError ends every fetch with this text in the third side band.
	BandError string
	// Intercept may answer an HTTP request in the repository's place and then
	// returns true. See HTMLPage.
	Intercept func(http.ResponseWriter, *http.Request) bool
}

func (o RepoOptions) hidden(ref string) bool { return matchAny(o.Hidden, ref) }

func (o RepoOptions) protected(ref, user string) bool {
	return matchAny(o.Protected, ref) && (user == "" || !slices.Contains(o.Maintainers, user))
}

func matchAny(patterns []string, ref string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, _ := path.Match(p, ref)
		return ok || p == ref
	})
}

// Stats counts what clients did with a repository.
type Stats struct {
	// Listings are reference advertisements and ls-refs answers.
	Listings int
	// Fetches are packs asked for, Packs packs sent, PackBytes their size.
	Fetches, Packs int
	PackBytes      int64
	// Wants and Haves are the lines of those names.
	Wants, Haves int
	// Filters are the filters asked for, Prefixes the ref-prefix arguments.
	Filters, Prefixes []string
	// Pushes are completed receive-pack runs, refused ones too.
	Pushes int
}

// Stats returns the counters. The Exec backend counts nothing.
func (r *Repo) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Filters, s.Prefixes = slices.Clone(s.Filters), slices.Clone(s.Prefixes)
	return s
}

// ResetStats sets all counters to zero.
func (r *Repo) ResetStats() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats = Stats{}
}

func (r *Repo) count(f func(*Stats)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.stats)
}

// Configure changes the options of the repository; it takes effect with the
// next request.
func (r *Repo) Configure(change func(*RepoOptions)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.opts)
}

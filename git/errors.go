// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/limits"
	"github.com/gitops-kit/sdk/git/internal/netguard"
	"github.com/gitops-kit/sdk/git/internal/redact"
	"github.com/gitops-kit/sdk/git/internal/wire"
	"github.com/gitops-kit/sdk/git/internal/worktree"
	"github.com/gitops-kit/sdk/git/sign"
)

// What was asked for cannot be.
var (
	// ErrInvalidURL reports a URL that this package does not fetch from.
	ErrInvalidURL = errors.New("invalid repository URL")
	// ErrInvalidRef reports a reference, revision or range that is not well formed.
	ErrInvalidRef = errors.New("invalid reference")
	// ErrInvalidOption reports an option that contradicts another or does not exist.
	ErrInvalidOption = errors.New("invalid option")
	// ErrObjectFormat reports a hash function that is not known here.
	ErrObjectFormat = wire.ErrObjectFormat
	// ErrUnsupported reports something that this server or driver cannot do.
	ErrUnsupported = errors.New("unsupported")
)

// Who we are, and who they are.
var (
	// ErrAuth reports that the server did not accept the credential.
	ErrAuth = errors.New("authentication failed")
	// ErrForbidden reports that the credential is known but not allowed.
	ErrForbidden = errors.New("access forbidden")
	// ErrKeyPassphrase reports a private key whose passphrase is missing or wrong.
	ErrKeyPassphrase = sign.ErrKeyPassphrase
	// ErrHostKeyUnknown reports a host without an entry in known_hosts.
	ErrHostKeyUnknown = errors.New("host key unknown")
	// ErrHostKeyMismatch reports a host whose key is another than the known one.
	ErrHostKeyMismatch = errors.New("host key mismatch")
	// ErrHostKeyRevoked reports a host key that known_hosts revokes.
	ErrHostKeyRevoked = errors.New("host key revoked")
)

// What the repository holds.
var (
	// ErrRepositoryNotFound reports that the server has no such repository, or does not show it.
	ErrRepositoryNotFound = errors.New("repository not found")
	// ErrRefNotFound reports a reference that the repository does not have.
	ErrRefNotFound = errors.New("reference not found")
	// ErrNoSemverMatch reports that no tag is in the range.
	ErrNoSemverMatch = errors.New("no tag matches the range")
	// ErrCommitNotFound reports a commit that the repository does not have, or does not give out.
	ErrCommitNotFound = errors.New("commit not found")
	// ErrCommitNotOnBranch reports a commit that is not in the history of the branch.
	ErrCommitNotOnBranch = errors.New("commit is not on the branch")
	// ErrEmptyRepository reports a repository without any reference.
	ErrEmptyRepository = errors.New("repository is empty")
	// ErrNotACommit reports a reference to something else than a commit.
	ErrNotACommit = errors.New("not a commit")
	// ErrNotGit reports an answer that is not Git's, such as a login page.
	ErrNotGit = wire.ErrNotGit
)

// What came over the wire.
var (
	// ErrProtocol reports bytes that are not the protocol.
	ErrProtocol = wire.ErrProtocol
	// ErrRemote reports that the server refused or failed; a [*RemoteError] says what it said.
	ErrRemote = wire.ErrRemote
	// ErrMalformedPack reports a pack that is not what Git defines.
	ErrMalformedPack = driver.ErrMalformedPack
	// ErrMalformedObject reports an object that is not what Git defines.
	ErrMalformedObject = driver.ErrMalformedObject
	// ErrMismatch reports that another commit came than the one resolved.
	ErrMismatch = errors.New("fetched commit is not the resolved one")
	// ErrUnsafePath reports a name in a tree that must not become a file name.
	ErrUnsafePath = worktree.ErrUnsafePath
	// ErrSparsePath reports a sparse entry that is not a directory of the commit.
	ErrSparsePath = worktree.ErrSparsePath
	// ErrLink reports a symbolic link under [LinksFail].
	ErrLink = worktree.ErrLink
	// ErrMirrorLocked reports a mirror directory that another process uses.
	ErrMirrorLocked = errors.New("mirror directory is in use by another process")
	// ErrRollback reports a commit that does not descend from the required one.
	ErrRollback = errors.New("commit does not descend from the required one")
)

// Shared with the other modules.
var (
	// ErrLimit is matched by every [*LimitError].
	ErrLimit = limits.ErrLimit
	// ErrAddressBlocked reports an address that the outbound policy refuses.
	ErrAddressBlocked = netguard.ErrAddressBlocked
	// ErrRedirectBlocked reports a redirect that the outbound policy does not follow.
	ErrRedirectBlocked = netguard.ErrRedirectBlocked
	// ErrInsecureCredentials reports credentials that would travel in clear text.
	ErrInsecureCredentials = netguard.ErrInsecureCredentials
	// ErrStalled reports a server that went quiet.
	ErrStalled = netguard.ErrStalled
)

// LimitError names the limit that an input exceeded.
type LimitError = limits.LimitError

// RemoteError carries what the server said, escaped and cut.
type RemoteError = wire.RemoteError

// SparseError names the sparse entry at fault.
type SparseError = worktree.SparseError

// AddressError names the address that was refused.
type AddressError = netguard.AddressError

// Error is what every operation of a [Client] returns.
type Error struct {
	Op  string // "resolve", "checkout", …
	URL string // redacted
	Ref string // what was asked for, when there was something
	Err error
}

// Error implements error.
func (e *Error) Error() string {
	s := e.Op
	if e.URL != "" {
		s += fmt.Sprintf(" %q", e.URL)
	}
	if e.Ref != "" {
		s += fmt.Sprintf(" %q", redact.Text(e.Ref, 256))
	}
	return s + ": " + oneLine(e.Err)
}

// oneLine bounds and escapes what is shown of a cause.
func oneLine(err error) string {
	return redact.Text(strings.ReplaceAll(err.Error(), "\n", "; "), 1024)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// reasoner is how errors carry their condition reason.
type reasoner interface{ Reason() string }

var reasons = []struct { //nolint:gochecknoglobals // a table that never changes
	err    error
	reason string
}{
	{ErrAuth, "AuthenticationFailed"},
	{ErrForbidden, "AuthenticationFailed"},
	{ErrKeyPassphrase, "AuthenticationFailed"},
	{ErrInsecureCredentials, "AuthenticationFailed"},
	{ErrHostKeyUnknown, "AuthenticationFailed"},
	{ErrHostKeyMismatch, "AuthenticationFailed"},
	{ErrHostKeyRevoked, "AuthenticationFailed"},
	{ErrInvalidURL, "URLInvalid"},
	{ErrEmptyRepository, "EmptyGitRepository"},
	{ErrLimit, "LimitExceeded"},
	{ErrAddressBlocked, "AddressBlocked"},
	{ErrRedirectBlocked, "AddressBlocked"},
}

// Reason returns the condition reason.
func (e *Error) Reason() string { return reasonOf(e.Err) }

func reasonOf(err error) string {
	var sub *SubmoduleError
	if errors.As(err, &sub) { // what it says of its cause
		return sub.Reason()
	}
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.reason
		}
	}
	var r reasoner
	if errors.As(err, &r) {
		return r.Reason()
	}
	return "GitOperationFailed"
}

// Terminal reports whether the same request can never succeed.
func (e *Error) Terminal() bool {
	var sub *SubmoduleError
	if errors.As(e.Err, &sub) { // what it says of its cause
		return sub.Terminal()
	}
	var l *LimitError
	if errors.As(e.Err, &l) {
		return l.Terminal()
	}
	for _, t := range []error{ErrInvalidURL, ErrInvalidRef, ErrInvalidOption, ErrObjectFormat, ErrUnsupported} {
		if errors.Is(e.Err, t) {
			return true
		}
	}
	return false
}

// wrap makes the error of one operation. Its context's end wins over what that
// end broke.
func (c *Client) wrap(ctx context.Context, op, ref string, err error) error {
	if err == nil {
		return nil
	}
	var done *Error
	if errors.As(err, &done) {
		return err
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return &Error{Op: op, URL: c.shown, Ref: ref, Err: err}
}

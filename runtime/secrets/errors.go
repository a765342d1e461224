// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gitops-kit/sdk/runtime/internal/redact"
)

// Secret holds a value that nothing prints.
type Secret = redact.Secret

// NewSecret wraps a value.
func NewSecret(s string) Secret { return redact.NewSecret(s) }

// reason of every error of the package.
const reason = "AuthenticationFailed"

// ErrAmbiguous reports a Secret with two credentials that exclude each other.
var ErrAmbiguous = errors.New("credentials are ambiguous")

// ErrNoCredentials reports a Secret that holds none of the wanted credentials.
var ErrNoCredentials = errors.New("no usable credentials")

// Ref names a Secret and, where it matters, a key.
type Ref struct {
	// Namespace of the Secret; "" is that of the Reader.
	Namespace string
	// Name of the Secret.
	Name string
}

// String returns "namespace/name".
func (r Ref) String() string { return r.Namespace + "/" + r.Name }

// SecretNotFoundError reports a Secret that does not exist.
type SecretNotFoundError struct {
	// Ref names it.
	Ref Ref
	// Err is what the API server said.
	Err error
}

// Error names the Secret.
func (e *SecretNotFoundError) Error() string { return fmt.Sprintf("secret '%s' not found", e.Ref) }

// Unwrap returns the cause.
func (e *SecretNotFoundError) Unwrap() error { return e.Err }

// Reason returns AuthenticationFailed.
func (e *SecretNotFoundError) Reason() string { return reason }

// Terminal returns false: it may appear.
func (e *SecretNotFoundError) Terminal() bool { return false }

// SecretKeyError reports a key that is missing or malformed.
type SecretKeyError struct {
	// Ref names the Secret.
	Ref Ref
	// Key is the data key.
	Key string
	// Why says what is wrong, without the value.
	Why string
}

// Error names Secret and key.
func (e *SecretKeyError) Error() string {
	return fmt.Sprintf("secret '%s': key '%s': %s", e.Ref, e.Key, e.Why)
}

// Reason returns AuthenticationFailed.
func (e *SecretKeyError) Reason() string { return reason }

// Terminal returns false: the Secret may change.
func (e *SecretKeyError) Terminal() bool { return false }

// CredentialsError reports a Secret that does not say which credentials to use.
type CredentialsError struct {
	// Ref names the Secret.
	Ref Ref
	// Found are its keys, sorted.
	Found []string
	// Err is [ErrAmbiguous] or [ErrNoCredentials].
	Err error
}

// Error names the Secret and its keys.
func (e *CredentialsError) Error() string {
	return fmt.Sprintf("secret '%s': %v: found keys [%s]", e.Ref, e.Err, strings.Join(e.Found, ", "))
}

// Unwrap returns the sentinel.
func (e *CredentialsError) Unwrap() error { return e.Err }

// Reason returns AuthenticationFailed.
func (e *CredentialsError) Reason() string { return reason }

// Terminal returns false: the Secret may change.
func (e *CredentialsError) Terminal() bool { return false }

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeconfig

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/internal/limits"
)

// ErrUnsupportedKubeconfigField is matched by every [*KubeconfigFieldError].
var ErrUnsupportedKubeconfigField = errors.New("unsupported kubeconfig field")

// LimitError reports data that is too large.
type LimitError = limits.LimitError

// KubeconfigFieldError reports a field of a selected entry that is not accepted.
type KubeconfigFieldError struct { //nolint:revive // the name is part of the specified surface
	// Field is its path, such as "users[0].user.tokenFile".
	Field string
}

// Error names the field, never its value.
func (e *KubeconfigFieldError) Error() string {
	return fmt.Sprintf("kubeconfig field %q is not supported", e.Field)
}

// Unwrap returns [ErrUnsupportedKubeconfigField].
func (e *KubeconfigFieldError) Unwrap() error { return ErrUnsupportedKubeconfigField }

// Reason returns InvalidSpec.
func (e *KubeconfigFieldError) Reason() string { return meta.InvalidSpecReason }

// Terminal returns true: the same data is refused again.
func (e *KubeconfigFieldError) Terminal() bool { return true }

// SyntaxError reports data that is no usable kubeconfig.
type SyntaxError struct {
	// Field is the path of the offending part, "" for the whole.
	Field string
	// Why says what is wrong, without values.
	Why string
}

// Error names field and cause.
func (e *SyntaxError) Error() string {
	if e.Field == "" {
		return "kubeconfig: " + e.Why
	}
	return fmt.Sprintf("kubeconfig field %q: %s", e.Field, e.Why)
}

// Reason returns InvalidSpec.
func (e *SyntaxError) Reason() string { return meta.InvalidSpecReason }

// Terminal returns true: the same data is refused again.
func (e *SyntaxError) Terminal() bool { return true }

// KeyError reports a Secret without a kubeconfig.
type KeyError struct {
	// Tried are the keys that were looked for, in order.
	Tried []string
}

// Error names the keys.
func (e *KeyError) Error() string {
	return "secret has no kubeconfig under key " + strings.Join(e.Tried, " or ")
}

// Reason returns InvalidSpec.
func (e *KeyError) Reason() string { return meta.InvalidSpecReason }

// Terminal returns false: the Secret may get the key.
func (e *KeyError) Terminal() bool { return false }

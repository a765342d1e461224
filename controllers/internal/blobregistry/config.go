// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package blobregistry

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/controllers/internal/redact"
	"github.com/gitops-kit/sdk/runtime/secrets"
)

const maxConfig = 1 << 20

// FromDockerConfig returns a source of credentials for the registry of
// address: a Docker configuration file, which is read anew each time, so that
// a mounted Secret may change. The entry is found by
// [secrets.RegistryCredential]; a file without one is an error.
func FromDockerConfig(path, address string) func(context.Context) (Credential, error) {
	return func(context.Context) (Credential, error) {
		host, repo, err := ParseURL(address)
		if err != nil {
			return Credential{}, err
		}
		f, err := os.Open(path)
		if err != nil {
			return Credential{}, fmt.Errorf("read registry credentials: %w", err)
		}
		defer f.Close()                                      //nolint:errcheck // opened for reading
		b, err := io.ReadAll(io.LimitReader(f, maxConfig+1)) //nolint:forbidigo // limited
		if err != nil {
			return Credential{}, fmt.Errorf("read registry credentials: %w", err)
		}
		if len(b) > maxConfig {
			return Credential{}, &artifact.LimitError{Name: "docker-config", Max: maxConfig, Got: int64(len(b))}
		}
		a, err := secrets.RegistryCredential(b, host, repo)
		if err != nil {
			return Credential{}, fmt.Errorf("read registry credentials: %w", err)
		}
		return Credential{
			Username: a.Username, Password: redact.NewSecret(a.Password.Reveal()),
			IdentityToken: redact.NewSecret(a.IdentityToken.Reveal()), RegistryToken: redact.NewSecret(a.RegistryToken.Reveal()),
		}, nil
	}
}

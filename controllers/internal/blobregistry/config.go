// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package blobregistry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/controllers/internal/redact"
)

const maxConfig = 1 << 20

// FromDockerConfig returns a source of credentials for the registry of
// address: a Docker configuration file, which is read anew each time, so that
// a mounted Secret may change. Credential helpers are programs and are not
// run. A file without an entry for the registry is an error.
func FromDockerConfig(path, address string) func(context.Context) (Credential, error) {
	return func(context.Context) (Credential, error) {
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
		host, repo, err := ParseURL(address)
		if err != nil {
			return Credential{}, err
		}
		return ParseDockerConfig(b, host, repo)
	}
}

// ParseDockerConfig finds the credentials of a repository: those of the
// longest path that leads to it, else of its host. Host and port must be equal.
func ParseDockerConfig(b []byte, host, repo string) (Credential, error) {
	var doc struct {
		Auths map[string]struct {
			Auth          string `json:"auth"`
			Username      string `json:"username"`
			Password      string `json:"password"`
			IdentityToken string `json:"identitytoken"`
			RegistryToken string `json:"registrytoken"`
		} `json:"auths"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return Credential{}, errors.New("registry credentials: malformed docker config")
	}
	best, length := "", -1
	for key := range doc.Auths {
		if n := matches(key, host, repo); n > length || n == length && n >= 0 && key < best {
			best, length = key, n
		}
	}
	if length < 0 {
		return Credential{}, fmt.Errorf("registry credentials: no entry for %q", host)
	}
	e := doc.Auths[best]
	c := Credential{
		Username: e.Username, Password: redact.NewSecret(e.Password),
		IdentityToken: redact.NewSecret(e.IdentityToken), RegistryToken: redact.NewSecret(e.RegistryToken),
	}
	if e.Auth != "" {
		raw, err := base64.StdEncoding.DecodeString(e.Auth)
		user, password, ok := strings.Cut(string(raw), ":")
		if err != nil || !ok {
			return Credential{}, fmt.Errorf("registry credentials: malformed entry for %q", host)
		}
		c.Username, c.Password = user, redact.NewSecret(strings.TrimRight(password, "\x00"))
	}
	if c.IsZero() {
		return Credential{}, fmt.Errorf("registry credentials: empty entry for %q", host)
	}
	return c, nil
}

// matches returns how much of the repository's path a key names, -1 if it is
// of another registry.
func matches(key, host, repo string) int {
	_, bare, ok := strings.Cut(key, "://")
	if !ok {
		bare = key
	}
	h, path, _ := strings.Cut(strings.TrimRight(bare, "/"), "/")
	if path == "v1" || path == "v2" {
		path = ""
	}
	if docker := "index.docker.io"; h == docker || h == "registry-1.docker.io" {
		h = "docker.io"
	}
	if host == "index.docker.io" || host == "registry-1.docker.io" {
		host = "docker.io"
	}
	switch {
	case !strings.EqualFold(h, host):
		return -1
	case path == "" || path == repo || strings.HasPrefix(repo, path+"/"):
		return len(path)
	}
	return -1
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

const maxRegistry = 1 << 20

// RegistryMaterial holds registry credentials by host.
type RegistryMaterial struct {
	hosts map[string]RegistryAuth
}

// RegistryAuth is the credential for one host.
type RegistryAuth struct {
	// Username and Password, or a token.
	Username string
	// Password of the user.
	Password Secret
	// IdentityToken is exchanged for access tokens.
	IdentityToken Secret
	// RegistryToken is sent as it is.
	RegistryToken Secret
}

// Hosts returns the hosts, sorted.
func (m *RegistryMaterial) Hosts() []string { return slices.Sorted(maps.Keys(m.hosts)) }

// For returns the credential for exactly that host; Docker Hub has several names
// that count as one.
func (m *RegistryMaterial) For(host string) (RegistryAuth, bool) {
	if m == nil {
		return RegistryAuth{}, false
	}
	a, ok := m.hosts[hub(strings.ToLower(host))]
	return a, ok
}

// dockerConfig is the part of the file format that is accepted.
type dockerConfig struct {
	Auths       map[string]dockerAuth `json:"auths"`
	CredHelpers map[string]string     `json:"credHelpers"`
	CredsStore  string                `json:"credsStore"`
}

type dockerAuth struct {
	Auth          string `json:"auth"`
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// readDocker reads a configuration, or says why it cannot.
func readDocker(data []byte) (c dockerConfig, why string) {
	if len(data) > maxRegistry {
		return c, "larger than 1 MiB"
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return dockerConfig{}, "not a registry configuration in JSON"
	}
	return c, ""
}

// RegistryCredential finds the credential of a repository in a Docker
// configuration file of at most 1 MiB: that of the entry whose path leads
// furthest to the repository, else that of its host. Host and port must be equal; Docker
// Hub has several names that count as one. Entries of others play no role, and
// credential helpers, which are programs, are not run; a Secret that names some
// is refused by [Reader]. Without a usable entry the error is
// [ErrNoCredentials]. Safe for concurrent use.
func RegistryCredential(config []byte, host, repository string) (RegistryAuth, error) {
	c, why := readDocker(config)
	if why != "" {
		return RegistryAuth{}, fmt.Errorf("%w: docker configuration: %s", ErrNoCredentials, why)
	}
	best, length := "", -1
	for _, server := range slices.Sorted(maps.Keys(c.Auths)) {
		if n := leads(server, host, repository); n > length {
			best, length = server, n
		}
	}
	if length < 0 {
		return RegistryAuth{}, fmt.Errorf("%w: docker configuration: no entry for %q", ErrNoCredentials, host)
	}
	a, why := c.Auths[best].read()
	if why == "" && a == (RegistryAuth{}) {
		why = "empty"
	}
	if why != "" {
		return RegistryAuth{}, fmt.Errorf("%w: docker configuration: entry for %q: %s", ErrNoCredentials, host, why)
	}
	return a, nil
}

// leads returns how much of a repository's path a server entry names, -1 if it
// is of another host or path.
func leads(server, host, repository string) int {
	own, path := splitServer(server)
	switch {
	case own == "" || own != hub(strings.ToLower(host)):
		return -1
	case path == "" || path == repository || strings.HasPrefix(repository, path+"/"):
		return len(path)
	}
	return -1
}

func (p *parser) registry() error {
	const key = ".dockerconfigjson"
	c, why := readDocker(p.data[key])
	if why != "" {
		return p.bad(key, why)
	}
	if len(c.CredHelpers) > 0 || c.CredsStore != "" {
		return p.bad(key, "credential helpers and stores are not supported")
	}
	if len(c.Auths) == 0 {
		return p.bad(key, "no registry in auths")
	}
	m := &RegistryMaterial{hosts: map[string]RegistryAuth{}}
	for _, server := range slices.Sorted(maps.Keys(c.Auths)) {
		host := registryHost(server)
		if host == "" {
			return p.bad(key, "registry without a host name")
		}
		a, why := c.Auths[server].read()
		if why != "" {
			return p.bad(key, why)
		}
		if _, ok := m.hosts[host]; !ok || server == host {
			m.hosts[host] = a
		}
	}
	p.out.Registry = m
	return nil
}

func (a dockerAuth) read() (out RegistryAuth, why string) {
	user, password := a.Username, a.Password
	if a.Auth != "" {
		raw, err := base64.StdEncoding.DecodeString(a.Auth)
		if err != nil {
			return out, "auth is not base64"
		}
		u, pw, ok := strings.Cut(string(raw), ":")
		if !ok {
			return out, "auth is not user:password"
		}
		user, password = u, strings.TrimRight(pw, "\x00")
	}
	if strings.ContainsAny(user+password+a.IdentityToken+a.RegistryToken, "\r\n") {
		return out, "credential has more than one line"
	}
	return RegistryAuth{
		Username: user, Password: NewSecret(password), IdentityToken: NewSecret(a.IdentityToken),
		RegistryToken: NewSecret(a.RegistryToken),
	}, ""
}

// registryHost is the host of a server entry: scheme and path are dropped.
func registryHost(server string) string {
	host, _ := splitServer(server)
	return host
}

// splitServer splits a server entry into host and path. The versions of the
// protocol are no path.
func splitServer(server string) (host, path string) {
	s := strings.ToLower(strings.TrimSpace(server))
	s = strings.TrimPrefix(strings.TrimPrefix(s, "https://"), "http://")
	host, path, _ = strings.Cut(s, "/")
	if strings.ContainsAny(host, "@ \t") {
		return "", ""
	}
	if path = strings.Trim(path, "/"); path == "v1" || path == "v2" {
		path = ""
	}
	return hub(host), path
}

func hub(host string) string {
	switch host {
	case "docker.io", "registry-1.docker.io", "registry.hub.docker.com":
		return "index.docker.io"
	}
	return host
}

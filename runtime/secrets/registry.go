// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"encoding/base64"
	"encoding/json"
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

func (p *parser) registry() error {
	const key = ".dockerconfigjson"
	if len(p.data[key]) > maxRegistry {
		return p.bad(key, "larger than 1 MiB")
	}
	var c dockerConfig
	if err := json.Unmarshal(p.data[key], &c); err != nil {
		return p.bad(key, "not a registry configuration in JSON")
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
	s := strings.ToLower(strings.TrimSpace(server))
	s = strings.TrimPrefix(strings.TrimPrefix(s, "https://"), "http://")
	host, _, _ := strings.Cut(s, "/")
	if strings.ContainsAny(host, "@ \t") {
		return ""
	}
	return hub(host)
}

func hub(host string) string {
	switch host {
	case "docker.io", "registry-1.docker.io", "registry.hub.docker.com":
		return "index.docker.io"
	}
	return host
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/gitops-kit/sdk/git/internal/redact"
)

const maxURL = 4096

// scpForm recognises "user@host:path", which is not a URL.
var scpForm = regexp.MustCompile(`^(?:([A-Za-z0-9._-]+)@)?([A-Za-z0-9.-]+):([^/].*)$`)

func urlError(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalidURL, fmt.Sprintf(format, a...))
}

// parseURL parses a repository URL once. The result has a lower-case scheme
// and host and no userinfo; userinfo comes apart.
func parseURL(s string) (*url.URL, *url.Userinfo, error) {
	if s == "" {
		return nil, nil, urlError("empty")
	}
	if len(s) > maxURL {
		return nil, nil, urlError("longer than %d bytes", maxURL)
	}
	if control(s) {
		return nil, nil, urlError("control character")
	}
	if !strings.Contains(s, "://") {
		if m := scpForm.FindStringSubmatch(s); m != nil && !strings.Contains(s, "::") {
			user := m[1]
			if user != "" {
				user += "@"
			}
			return nil, nil, urlError("scp form; write %q", redact.Text("ssh://"+user+m[2]+"/"+m[3], 512))
		}
		return nil, nil, urlError("not an https, http or ssh URL")
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, nil, urlError("cannot be parsed") // the parser's text quotes the URL with its password
	}
	u.Scheme = strings.ToLower(u.Scheme)
	switch u.Scheme {
	case "https", "http", "ssh":
	default:
		return nil, nil, urlError("scheme %q; https, http and ssh are supported", redact.Text(u.Scheme, 32))
	}
	if err := checkParts(u); err != nil {
		return nil, nil, err
	}
	user := u.User
	u.User = nil
	u.Host = strings.ToLower(u.Host)
	return u, user, nil
}

func checkParts(u *url.URL) error {
	name := ""
	if u.User != nil {
		name = u.User.Username()
		if pw, _ := u.User.Password(); control(pw) {
			return urlError("control character")
		}
	}
	switch host := u.Hostname(); {
	case host == "":
		return urlError("no host")
	case control(name) || control(u.Path) || control(host):
		return urlError("control character")
	case strings.HasPrefix(host, "-") || strings.HasPrefix(name, "-") || strings.HasPrefix(strings.TrimLeft(u.Path, "/"), "-"):
		return urlError("host, user or path begins with a dash")
	case u.Fragment != "" || strings.Contains(u.String(), "#"):
		return urlError("fragment")
	case u.Scheme == "ssh" && (u.RawQuery != "" || u.ForceQuery):
		return urlError("query on an ssh URL")
	case strings.Trim(u.Path, "/") == "":
		return urlError("no path")
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return urlError("port %q", redact.Text(p, 8))
		}
	}
	return nil
}

func control(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return true
		}
	}
	return false
}

var defaultPorts = map[string]string{"http": "80", "https": "443", "ssh": "22"} //nolint:gochecknoglobals // a table that never changes

// canonical is the form that keys caches: lower-case scheme and host, no
// default port, no trailing slash, no userinfo.
func canonical(u *url.URL) string {
	c := *u
	c.User, c.Fragment, c.RawFragment = nil, "", ""
	c.Host = strings.ToLower(c.Host)
	if p := c.Port(); p != "" && p == defaultPorts[c.Scheme] {
		c.Host = strings.TrimSuffix(c.Host, ":"+p)
	}
	c.Path = strings.TrimRight(c.Path, "/")
	c.RawPath = strings.TrimRight(c.RawPath, "/")
	return c.String()
}

// hostPort is the address to dial.
func hostPort(u *url.URL) (host, port string) {
	port = u.Port()
	if port == "" {
		port = defaultPorts[u.Scheme]
	}
	return u.Hostname(), port
}

// sshPath is the path as the server sees it.
func sshPath(u *url.URL) string {
	p := u.Path
	if strings.HasPrefix(p, "/~") {
		return p[1:]
	}
	return p
}

// quote makes one word of a shell command, exactly as git does.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for i := range len(s) {
		switch s[i] {
		case '\'', '!':
			b.WriteString(`'\`)
			b.WriteByte(s[i])
			b.WriteByte('\'')
		default:
			b.WriteByte(s[i])
		}
	}
	b.WriteByte('\'')
	return b.String()
}

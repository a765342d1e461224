// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeconfig

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/gitops-kit/sdk/runtime/internal/limits"
	"go.yaml.in/yaml/v3"
	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// MaxBytes is the greatest size of a kubeconfig.
const MaxBytes = 64 << 10

// Unsupported says what happens to fields that could be dropped.
type Unsupported string

// Ways to treat fields that are off.
const (
	// Refuse makes such a field an error. It is the zero value's meaning.
	Refuse Unsupported = "error"
	// Drop ignores insecure-skip-tls-verify and exec.
	Drop Unsupported = "drop"
)

// Options of [Parse]. The zero value accepts inline credentials over HTTPS only.
type Options struct {
	// AllowExec accepts exec: the program runs with an empty environment except
	// the entry's own.
	AllowExec bool
	// AllowInsecureTLS accepts insecure-skip-tls-verify and http servers.
	AllowInsecureTLS bool
	// Unsupported says what happens to the two when they are off; "" is Refuse.
	Unsupported Unsupported
	// Context to select; "" is the data's current-context.
	Context string
	// Dial opens connections; nil is the ordinary dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// InCluster is the address of this cluster's API server. A kubeconfig without
	// a credential of its own must not name it. "" checks nothing.
	InCluster string
}

// Config is an accepted kubeconfig.
type Config struct {
	rest    *rest.Config
	key     string
	dropped []string
}

// REST returns a copy of the configuration.
func (c *Config) REST() *rest.Config { return rest.CopyConfig(c.rest) }

// Server returns the address of the API server.
func (c *Config) Server() string { return c.rest.Host }

// Key identifies server, trust and credential; it reveals none of them.
func (c *Config) Key() string { return c.key }

// Dropped lists the fields that were ignored by [Drop].
func (c *Config) Dropped() []string { return append([]string(nil), c.dropped...) }

// FromSecret reads the kubeconfig of a Secret: under key, or, without one,
// under "value" or "value.yaml". None of them is a [*KeyError].
func FromSecret(data map[string][]byte, key string, o Options) (*Config, error) {
	tried := []string{key}
	if key == "" {
		tried = []string{"value", "value.yaml"}
	}
	for _, k := range tried {
		if v, ok := data[k]; ok && len(v) > 0 {
			return Parse(v, o)
		}
	}
	return nil, &KeyError{Tried: tried}
}

// Parse builds a configuration from the selected context's cluster and user.
// Other entries are not looked at. A field that the allow-list does not name
// is a [*KubeconfigFieldError], also when another credential is present.
func Parse(data []byte, o Options) (*Config, error) {
	if err := limits.Check("kubeconfig", MaxBytes, int64(len(data))); err != nil {
		return nil, err
	}
	root, err := decode(data)
	if err != nil {
		return nil, err
	}
	p := &parser{o: o, out: &rest.Config{Dial: o.Dial}}
	if err := p.parse(root); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	ctx := sha256.Sum256([]byte(p.context))
	return &Config{rest: p.out, key: hex.EncodeToString(sum[:]) + hex.EncodeToString(ctx[:4]), dropped: p.dropped}, nil
}

type parser struct {
	o       Options
	out     *rest.Config
	context string
	dropped []string
	creds   bool
}

func (p *parser) parse(root *node) error {
	p.context = p.o.Context
	if p.context == "" {
		s, err := root.str("current-context")
		if err != nil {
			return err
		}
		p.context = s
	}
	if p.context == "" {
		return &SyntaxError{Field: "current-context", Why: "missing"}
	}
	cx, err := root.entry("contexts", "context", p.context)
	if err != nil {
		return err
	}
	if err := cx.only("cluster", "user", "namespace", "extensions"); err != nil {
		return err
	}
	cluster, err := cx.str("cluster")
	if err != nil {
		return err
	}
	user, err := cx.str("user")
	if err != nil {
		return err
	}
	cl, err := root.entry("clusters", "cluster", cluster)
	if err != nil {
		return err
	}
	if err := p.cluster(cl); err != nil {
		return err
	}
	if user != "" {
		u, err := root.entry("users", "user", user)
		if err != nil {
			return err
		}
		if err := p.user(u); err != nil {
			return err
		}
	}
	if !p.creds && p.o.InCluster != "" && sameServer(p.out.Host, p.o.InCluster) {
		return &SyntaxError{Field: cl.path + ".server", Why: "this cluster needs a credential of its own"}
	}
	return nil
}

func (p *parser) cluster(n *node) error {
	if err := n.only("server", "certificate-authority-data", "tls-server-name", "proxy-url", "disable-compression",
		"insecure-skip-tls-verify", "extensions"); err != nil {
		return err
	}
	insecure, err := n.boolean("insecure-skip-tls-verify")
	if err != nil {
		return err
	}
	if insecure && !p.o.AllowInsecureTLS {
		if p.o.Unsupported != Drop {
			return &KubeconfigFieldError{Field: n.path + ".insecure-skip-tls-verify"}
		}
		p.dropped = append(p.dropped, n.path+".insecure-skip-tls-verify")
		insecure = false
	}
	p.out.Insecure = insecure
	if p.out.DisableCompression, err = n.boolean("disable-compression"); err != nil {
		return err
	}
	if p.out.ServerName, err = n.str("tls-server-name"); err != nil {
		return err
	}
	if p.out.CAData, err = n.data("certificate-authority-data"); err != nil {
		return err
	}
	if len(p.out.CAData) > 0 && !x509.NewCertPool().AppendCertsFromPEM(p.out.CAData) {
		return &SyntaxError{Field: n.path + ".certificate-authority-data", Why: "no certificate"}
	}
	if insecure && len(p.out.CAData) > 0 {
		return &SyntaxError{Field: n.path + ".insecure-skip-tls-verify", Why: "not together with certificate-authority-data"}
	}
	if err := p.server(n); err != nil {
		return err
	}
	return p.proxy(n)
}

func (p *parser) server(n *node) error {
	s, err := n.str("server")
	if err != nil {
		return err
	}
	field := n.path + ".server"
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "":
		return &SyntaxError{Field: field, Why: "not an absolute URL"}
	case u.User != nil:
		return &SyntaxError{Field: field, Why: "user info is not allowed"}
	case u.RawQuery != "" || u.Fragment != "":
		return &SyntaxError{Field: field, Why: "query and fragment are not allowed"}
	case u.Scheme == "http" && p.o.AllowInsecureTLS, u.Scheme == "https":
	default:
		return &KubeconfigFieldError{Field: field}
	}
	p.out.Host = s
	return nil
}

func (p *parser) proxy(n *node) error {
	s, err := n.str("proxy-url")
	if err != nil || s == "" {
		return err
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return &SyntaxError{Field: n.path + ".proxy-url", Why: "not an absolute URL"}
	}
	switch u.Scheme {
	case "http", "https", "socks5":
	default:
		return &SyntaxError{Field: n.path + ".proxy-url", Why: "scheme must be http, https or socks5"}
	}
	p.out.Proxy = http.ProxyURL(u)
	return nil
}

func (p *parser) user(n *node) error {
	if err := n.only("token", "username", "password", "client-certificate-data", "client-key-data", "exec", "extensions"); err != nil {
		return err
	}
	var err error
	if p.out.BearerToken, err = n.str("token"); err != nil {
		return err
	}
	if strings.ContainsAny(p.out.BearerToken, "\r\n") {
		return &SyntaxError{Field: n.path + ".token", Why: "more than one line"}
	}
	if p.out.Username, err = n.str("username"); err != nil {
		return err
	}
	if p.out.Password, err = n.str("password"); err != nil {
		return err
	}
	if (p.out.Username == "") != (p.out.Password == "") {
		return &SyntaxError{Field: n.path, Why: "username and password belong together"}
	}
	if p.out.CertData, err = n.data("client-certificate-data"); err != nil {
		return err
	}
	if p.out.KeyData, err = n.data("client-key-data"); err != nil {
		return err
	}
	if len(p.out.CertData) > 0 || len(p.out.KeyData) > 0 {
		if _, err := tls.X509KeyPair(p.out.CertData, p.out.KeyData); err != nil {
			return &SyntaxError{Field: n.path + ".client-certificate-data", Why: "certificate and key are no pair"}
		}
	}
	p.creds = p.out.BearerToken != "" || p.out.Username != "" || len(p.out.CertData) > 0
	return p.exec(n)
}

func (p *parser) exec(n *node) error {
	e, err := n.child("exec")
	if err != nil || e == nil {
		return err
	}
	if !p.o.AllowExec {
		if p.o.Unsupported != Drop {
			return &KubeconfigFieldError{Field: e.path}
		}
		p.dropped = append(p.dropped, e.path)
		return nil
	}
	if err := e.only("apiVersion", "command", "args", "env", "interactiveMode", "provideClusterInfo", "installHint"); err != nil {
		return err
	}
	c := &clientcmdapi.ExecConfig{InteractiveMode: clientcmdapi.NeverExecInteractiveMode, StdinUnavailable: true}
	if c.Command, err = e.str("command"); err != nil {
		return err
	}
	if c.Command == "" {
		return &SyntaxError{Field: e.path + ".command", Why: "missing"}
	}
	if c.APIVersion, err = e.str("apiVersion"); err != nil {
		return err
	}
	if c.ProvideClusterInfo, err = e.boolean("provideClusterInfo"); err != nil {
		return err
	}
	if c.Args, err = e.strings("args"); err != nil {
		return err
	}
	own, err := e.env("env")
	if err != nil {
		return err
	}
	// The program's environment is the process's plus Env, later entries win:
	// everything inherited is made empty.
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		c.Env = append(c.Env, clientcmdapi.ExecEnvVar{Name: name})
	}
	c.Env = append(c.Env, own...)
	p.out.ExecProvider = c
	p.creds = true
	return nil
}

func sameServer(a, b string) bool {
	ua, errA := url.Parse(a)
	ub, errB := url.Parse(b)
	return errA == nil && errB == nil && strings.EqualFold(ua.Hostname(), ub.Hostname()) && port(ua) == port(ub)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "http" {
		return "80"
	}
	return "443"
}

func base64Data(s string) ([]byte, error) {
	return base64.StdEncoding.DecodeString(strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == ' ' {
			return -1
		}
		return r
	}, s))
}

// decodeYAML is here so that one file names the YAML package's decoder.
func decodeYAML(data []byte, docs int) ([]*yaml.Node, error) {
	dec := yaml.NewDecoder(strings.NewReader(string(data)))
	var out []*yaml.Node
	for range docs {
		n := &yaml.Node{}
		if err := dec.Decode(n); err != nil {
			return out, err
		}
		out = append(out, n)
	}
	return out, nil
}

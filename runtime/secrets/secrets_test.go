// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package secrets_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/runtime/secrets"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const canary = "canary-s3cr3t"

type data map[string]string

// reader serves one Secret and counts reads.
func reader(d data, reads *int) *secrets.Reader {
	return secrets.NewReader(secrets.Options{
		Namespace:   "ns",
		PullSecrets: func(context.Context, string, string) ([]string, error) { return []string{"s", "missing"}, nil },
		Source: func(_ context.Context, ns, name string) (*corev1.Secret, error) {
			if reads != nil {
				*reads++
			}
			if d == nil || ns != "ns" || name != "s" {
				return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
			}
			s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, UID: "u", ResourceVersion: "1"}, Data: map[string][]byte{}}
			for k, v := range d {
				s.Data[k] = []byte(v)
			}
			return s, nil
		},
	})
}

func pemBlock(typ string, b []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: b}))
}

type keys struct{ cert, key, otherKey, rsa, ssh, sshLocked string }

func makeKeys(t *testing.T) keys {
	t.Helper()
	g := NewWithT(t)
	ec := func() (*ecdsa.PrivateKey, string) {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		g.Expect(err).NotTo(HaveOccurred())
		b, err := x509.MarshalPKCS8PrivateKey(k)
		g.Expect(err).NotTo(HaveOccurred())
		return k, pemBlock("PRIVATE KEY", b)
	}
	k, kp := ec()
	_, other := ec()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	g.Expect(err).NotTo(HaveOccurred())
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	g.Expect(err).NotTo(HaveOccurred())
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	plain, err := ssh.MarshalPrivateKey(ed, "")
	g.Expect(err).NotTo(HaveOccurred())
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(ed, "", []byte(canary))
	g.Expect(err).NotTo(HaveOccurred())
	return keys{
		cert: pemBlock("CERTIFICATE", der), key: kp, otherKey: other, rsa: pemBlock("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(r)),
		ssh: string(pem.EncodeToMemory(plain)), sshLocked: string(pem.EncodeToMemory(locked)),
	}
}

// RT-102, RT-103, N26: row by row.
func TestRows(t *testing.T) {
	k := makeKeys(t)
	const hosts = "github.com ssh-ed25519 AAAA"
	const dns = secrets.Basic | secrets.Bearer | secrets.TLS | secrets.SSH
	cases := map[string]struct {
		want secrets.Want
		in   data
		key  string // of the SecretKeyError
		err  error
	}{
		"Basic":            {want: dns, in: data{"username": "u", "password": canary}},
		"BasicNoUser":      {want: dns, in: data{"password": canary}, key: "username"},
		"BasicNoPassword":  {want: dns, in: data{"username": "u"}, key: "password"},
		"BasicLines":       {want: dns, in: data{"username": "u", "password": canary + "\r\nX: y"}, key: "password"},
		"Bearer":           {want: dns, in: data{"bearerToken": canary}},
		"BearerLines":      {want: dns, in: data{"bearerToken": canary + "\n"}, key: "bearerToken"},
		"BearerLong":       {want: dns, in: data{"bearerToken": strings.Repeat("x", 16<<10+1)}, key: "bearerToken"},
		"BasicAndBearer":   {want: dns, in: data{"username": "u", "password": canary, "bearerToken": canary}, err: secrets.ErrAmbiguous},
		"Nothing":          {want: dns, in: data{"other": canary}, err: secrets.ErrNoCredentials},
		"NotWanted":        {want: secrets.Proxy, in: data{"username": "u", "password": canary}, err: secrets.ErrNoCredentials},
		"APIToken":         {want: secrets.Token, in: data{"token": canary}},
		"TLSPair":          {want: dns, in: data{"tls.crt": k.cert, "tls.key": k.key, "ca.crt": k.cert}},
		"TLSAndBasic":      {want: dns, in: data{"ca.crt": k.cert, "username": "u", "password": canary}},
		"TLSLegacy":        {want: dns, in: data{"certFile": k.cert, "keyFile": k.key, "caFile": k.cert}},
		"TLSHalf":          {want: dns, in: data{"tls.crt": k.cert}, key: "tls.key"},
		"TLSOtherHalf":     {want: dns, in: data{"tls.key": k.key}, key: "tls.crt"},
		"TLSNoPair":        {want: dns, in: data{"tls.crt": k.cert, "tls.key": k.otherKey}, key: "tls.crt"},
		"TLSBadCA":         {want: dns, in: data{"ca.crt": canary}, key: "ca.crt"},
		"SSH":              {want: dns, in: data{"identity": k.ssh, "known_hosts": hosts}},
		"SSHLocked":        {want: dns, in: data{"identity": k.sshLocked, "known_hosts": hosts, "password": canary}},
		"SSHNoPassphrase":  {want: dns, in: data{"identity": k.sshLocked, "known_hosts": hosts}, key: "password"},
		"SSHWrong":         {want: dns, in: data{"identity": k.sshLocked, "known_hosts": hosts, "password": "wrong"}, key: "identity"},
		"SSHGarbage":       {want: dns, in: data{"identity": canary, "known_hosts": hosts}, key: "identity"},
		"SSHNoHosts":       {want: dns, in: data{"identity": k.ssh}, key: "known_hosts"},
		"SSHEmptyHosts":    {want: dns, in: data{"identity": k.ssh, "known_hosts": "# comment\n\n"}, key: "known_hosts"},
		"App":              {want: secrets.GitHubApp, in: data{"githubAppID": "7", "githubAppInstallationID": "8", "githubAppPrivateKey": k.rsa}},
		"AppOwner":         {want: secrets.GitHubApp, in: data{"githubAppID": "7", "githubAppInstallationOwner": "o", "githubAppPrivateKey": k.rsa, "githubAppBaseURL": "https://ghe.example.com/api"}},
		"AppBoth":          {want: secrets.GitHubApp, in: data{"githubAppID": "7", "githubAppInstallationID": "8", "githubAppInstallationOwner": "o", "githubAppPrivateKey": k.rsa}, key: "githubAppInstallationID"},
		"AppNeither":       {want: secrets.GitHubApp, in: data{"githubAppID": "7", "githubAppPrivateKey": k.rsa}, key: "githubAppInstallationID"},
		"AppID":            {want: secrets.GitHubApp, in: data{"githubAppID": "x", "githubAppInstallationID": "8", "githubAppPrivateKey": k.rsa}, key: "githubAppID"},
		"AppKey":           {want: secrets.GitHubApp, in: data{"githubAppID": "7", "githubAppInstallationID": "8", "githubAppPrivateKey": k.key}, key: "githubAppPrivateKey"},
		"AppBaseURL":       {want: secrets.GitHubApp, in: data{"githubAppID": "7", "githubAppInstallationID": "8", "githubAppPrivateKey": k.rsa, "githubAppBaseURL": "file:///x"}, key: "githubAppBaseURL"},
		"Proxy":            {want: secrets.Proxy, in: data{"address": "http://proxy:3128", "username": "u", "password": canary}},
		"ProxyUserInfo":    {want: secrets.Proxy, in: data{"address": "http://u:" + canary + "@proxy:3128"}, key: "address"},
		"ProxyScheme":      {want: secrets.Proxy, in: data{"address": "ftp://proxy"}, key: "address"},
		"ProxyLong":        {want: secrets.Proxy, in: data{"address": "http://" + strings.Repeat("x", 2048)}, key: "address"},
		"Registry":         {want: secrets.Registry, in: data{".dockerconfigjson": `{"auths":{"https://ghcr.io/v2":{"username":"u","password":"` + canary + `"}}}`}},
		"RegistryHelper":   {want: secrets.Registry, in: data{".dockerconfigjson": `{"auths":{"a":{}},"credHelpers":{"a":"x"}}`}, key: ".dockerconfigjson"},
		"RegistryStore":    {want: secrets.Registry, in: data{".dockerconfigjson": `{"auths":{"a":{}},"credsStore":"x"}`}, key: ".dockerconfigjson"},
		"RegistryGarbage":  {want: secrets.Registry, in: data{".dockerconfigjson": canary}, key: ".dockerconfigjson"},
		"RegistryTooLarge": {want: secrets.Registry, in: data{".dockerconfigjson": strings.Repeat(" ", 1<<20+1)}, key: ".dockerconfigjson"},
		"RegistryAuth":     {want: secrets.Registry, in: data{".dockerconfigjson": `{"auths":{"a":{"auth":"` + canary + `"}}}`}, key: ".dockerconfigjson"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			m, err := reader(tc.in, nil).Get(t.Context(), secrets.Ref{Name: "s"}, tc.want)
			switch {
			case tc.key != "":
				var ke *secrets.SecretKeyError
				g.Expect(errors.As(err, &ke)).To(BeTrue(), "%v", err)
				g.Expect(ke.Key).To(Equal(tc.key))
				g.Expect(ke.Reason()).To(Equal("AuthenticationFailed"))
			case tc.err != nil:
				g.Expect(errors.Is(err, tc.err)).To(BeTrue(), "%v", err)
				g.Expect(errors.As(err, new(*secrets.CredentialsError))).To(BeTrue())
			default:
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(m.UID + m.ResourceVersion).To(Equal("u1"))
			}
			for _, text := range []string{fmt.Sprint(err), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", m), fmt.Sprintf("%+v", m)} {
				g.Expect(text).NotTo(ContainSubstring(canary), "no value in errors or material")
			}
		})
	}
}

// RT-102: what the material says.
func TestMaterial(t *testing.T) {
	g := NewWithT(t)
	k := makeKeys(t)
	get := func(want secrets.Want, d data) *secrets.Material {
		m, err := reader(d, nil).Get(t.Context(), secrets.Ref{Name: "s"}, want)
		g.Expect(err).NotTo(HaveOccurred())
		return m
	}
	m := get(secrets.TLS, data{"tls.crt": k.cert, "tls.key": k.key, "certFile": "ignored", "caFile": k.cert})
	g.Expect(m.Legacy).To(Equal([]string{"caFile"}), "standard keys beat legacy ones, which are reported")
	c, err := m.TLS.Config(secrets.TLSOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.MinVersion).To(Equal(uint16(tls.VersionTLS12)))
	g.Expect(c.InsecureSkipVerify).To(BeFalse())
	g.Expect(c.Certificates).To(HaveLen(1))
	g.Expect(c.RootCAs).NotTo(BeNil())
	s := get(secrets.SSH|secrets.Basic, data{"identity": k.ssh, "known_hosts": "h ssh-ed25519 A", "password": "unrelated", "username": "bob"}).SSH
	g.Expect(s.Username).To(Equal("bob"))
	g.Expect(s.Passphrase.IsZero()).To(BeTrue(), "the identity is not encrypted")
	p := get(secrets.Proxy, data{"address": "socks5://p:1080", "username": "u", "password": canary}).Proxy
	g.Expect(p.Address().String()).To(Equal("socks5://p:1080"))
	g.Expect(p.URL().String()).To(Equal("socks5://u:" + canary + "@p:1080"))
	r := get(secrets.Registry, data{".dockerconfigjson": `{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},"ghcr.io":{"username":"a","password":"b"}}}`}).Registry
	g.Expect(r.Hosts()).To(Equal([]string{"ghcr.io", "index.docker.io"}))
	a, ok := r.For("docker.io")
	g.Expect(ok).To(BeTrue())
	g.Expect(a.Username + a.Password.Reveal()).To(Equal("up"))
	_, ok = r.For("evil-ghcr.io")
	g.Expect(ok).To(BeFalse(), "exact host match")
	g.Expect(get(secrets.GitHubApp, data{"githubAppID": "7", "githubAppInstallationID": "8", "githubAppPrivateKey": k.rsa}).GitHubApp.Key()).NotTo(BeNil())
}

// RT-101: one read per Secret and run, the own namespace, typed absence.
func TestReader(t *testing.T) {
	g := NewWithT(t)
	reads := 0
	r := reader(data{"a.agekey": canary, "b.asc": "x", "c": "y"}, &reads)
	for range 3 {
		f, err := r.Files(t.Context(), secrets.Ref{Name: "s"}, ".agekey", ".asc")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(f).To(HaveLen(2))
		g.Expect(f[0].Name + f[0].Data.Reveal()).To(Equal("a.agekey" + canary))
	}
	v, err := r.Value(t.Context(), secrets.Ref{Namespace: "ns", Name: "s"}, "c")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(v.Reveal()).To(Equal("y"))
	g.Expect(reads).To(Equal(1))
	_, err = r.Value(t.Context(), secrets.Ref{Name: "s"}, "z")
	g.Expect(errors.As(err, new(*secrets.SecretKeyError))).To(BeTrue())
	_, err = r.Files(t.Context(), secrets.Ref{Name: "s"}, ".sops")
	g.Expect(errors.Is(err, secrets.ErrNoCredentials)).To(BeTrue())
	_, err = r.Get(t.Context(), secrets.Ref{Namespace: "other", Name: "s"}, secrets.Basic)
	var nf *secrets.SecretNotFoundError
	g.Expect(errors.As(err, &nf)).To(BeTrue())
	g.Expect(nf.Ref).To(Equal(secrets.Ref{Namespace: "other", Name: "s"}))
	g.Expect(apierrors.IsNotFound(err)).To(BeTrue())
	g.Expect(nf.Terminal()).To(BeFalse())
	r = reader(data{".dockerconfigjson": `{"auths":{"ghcr.io":{}}}`}, nil)
	_, err = r.PullSecrets(t.Context(), "", "default")
	g.Expect(errors.As(err, &nf)).To(BeTrue(), "a missing pull secret is an error")
	g.Expect(nf.Ref.Name).To(Equal("missing"))
}

// writer is an in-memory store.
type writer struct {
	have    *corev1.Secret
	applied *corev1.Secret
	deleted string
}

func (w *writer) Get(context.Context, string, string) (*corev1.Secret, error) {
	if w.have == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, "s")
	}
	return w.have, nil
}

func (w *writer) Apply(_ context.Context, s *corev1.Secret, _ string) error {
	w.applied = s
	return nil
}
func (w *writer) Delete(_ context.Context, _, _, uid string) error { w.deleted = uid; return nil }

// RT-105
func TestMakeAndApply(t *testing.T) {
	g := NewWithT(t)
	ref := secrets.Ref{Namespace: "ns", Name: "s"}
	pw := secrets.NewSecret(canary)
	reg, err := secrets.MakeRegistry(ref, "ghcr.io", "u", pw)
	g.Expect(err).NotTo(HaveOccurred())
	types := map[corev1.SecretType]*corev1.Secret{
		corev1.SecretTypeBasicAuth: secrets.MakeBasic(ref, "u", pw), corev1.SecretTypeTLS: secrets.MakeTLS(ref, []byte("c"), pw, nil),
		corev1.SecretTypeSSHAuth: secrets.MakeSSHAuth(ref, pw), corev1.SecretTypeDockerConfigJson: reg, corev1.SecretTypeOpaque: secrets.MakeBearer(ref, pw),
	}
	for typ, s := range types {
		g.Expect(s.Type).To(Equal(typ))
	}
	sops := secrets.MakeSOPS(ref, ".agekey", pw)
	for k := range sops.Data {
		g.Expect(k).To(MatchRegexp(`^[0-9a-f]{8}\.agekey$`))
	}
	yes := true
	for name, have := range map[string]*corev1.Secret{"type": {Type: corev1.SecretTypeOpaque}, "immutable": {Type: corev1.SecretTypeBasicAuth, Immutable: &yes}} {
		have.UID = "uid"
		w := &writer{have: have}
		err := secrets.Apply(t.Context(), w, secrets.MakeBasic(ref, "u", pw), secrets.ApplyOptions{FieldManager: "m"})
		g.Expect(errors.Is(err, secrets.ErrReplace)).To(BeTrue(), name)
		g.Expect(w.applied).To(BeNil())
		g.Expect(w.deleted).To(BeEmpty())
		g.Expect(secrets.Apply(t.Context(), w, secrets.MakeBasic(ref, "u", pw), secrets.ApplyOptions{FieldManager: "m", Replace: true})).To(Succeed())
		g.Expect(w.deleted).To(Equal("uid"), "exactly the one that was read")
	}
	w := &writer{}
	g.Expect(secrets.Apply(t.Context(), w, secrets.MakeBasic(ref, "u", pw), secrets.ApplyOptions{FieldManager: "m"})).To(Succeed())
	g.Expect(w.applied).NotTo(BeNil())
}

// R6, R8: the credential of a repository is that of exactly its host and port, of the
// entry whose path leads furthest; what belongs to others, and programs that
// would know more, play no role; nothing of it is in an error.
func TestRegistryCredential(t *testing.T) {
	auth := func(s string) string { return `{"auth":"` + base64.StdEncoding.EncodeToString([]byte(s)) + `"}` }
	for _, tc := range []struct{ config, host, repo, want string }{
		{`{"auths":{"h":` + auth("a:b:c") + `}}`, "h", "x", "a:b:c"},
		{`{"auths":{"H":` + auth("a:1") + `}}`, "h", "x", "a:1"},
		{`{"auths":{"https://h/v1/":{"username":"a","password":"p"}}}`, "h", "x", "a:p"},
		{`{"auths":{"https://h/v2":{"username":"a","password":"p"}}}`, "h", "x", "a:p"},
		{`{"auths":{"h":` + auth("a:1") + `,"h/team":` + auth("b:2") + `,"h/tea":` + auth("c:3") + `}}`, "h", "team/x", "b:2"},
		{`{"auths":{"h/team/x/":` + auth("a:1") + `,"h/team":` + auth("b:2") + `}}`, "h", "team/x", "a:1"},
		{`{"auths":{"h/team":` + auth("b:2") + `}}`, "h", "teamwork", ""},
		{`{"auths":{"h/team/x/y":` + auth("b:2") + `}}`, "h", "team/x", ""},
		{`{"auths":{"https://index.docker.io/v1/":` + auth("a:1") + `}}`, "docker.io", "x/y", "a:1"},
		{`{"auths":{"docker.io":` + auth("a:1") + `}}`, "registry-1.docker.io", "x/y", "a:1"},
		{`{"auths":{"h:5000":` + auth("a:1") + `}}`, "h", "x", ""},
		{`{"auths":{"h":` + auth("a:1") + `}}`, "h:5000", "x", ""},
		{`{"auths":{"evil-h":` + auth("a:1") + `,"h.evil":` + auth("a:1") + `,"u@h":` + auth("a:1") + `}}`, "h", "x", ""},
		{`{"auths":{"":` + auth("a:1") + `}}`, "", "x", ""},
		{`{"auths":{"h":` + auth("a:1") + `,"other":{"auth":"` + canary + `"}}}`, "h", "x", "a:1"},
		{`{"auths":{"h":` + auth("a:1") + `},"credHelpers":{"g":"program"},"credsStore":"program"}`, "h", "x", "a:1"},
		{`{"auths":{"h":{"auth":"` + canary + `"}}}`, "h", "x", ""},
		{`{"auths":{"h":` + auth(canary) + `}}`, "h", "x", ""},
		{`{"auths":{"h":{"username":"a","password":"` + canary + `\n"}}}`, "h", "x", ""},
		{`{"auths":{"h":{}},"credsStore":"program"}`, "h", "x", ""},
		{`{"credHelpers":{"h":"program"}}`, "h", "x", ""},
		{`{}`, "h", "x", ""},
		{canary, "h", "x", ""},
		{strings.Repeat(" ", 1<<20+1), "h", "x", ""},
	} {
		g := NewWithT(t)
		a, err := secrets.RegistryCredential([]byte(tc.config), tc.host, tc.repo)
		if tc.want == "" {
			g.Expect(errors.Is(err, secrets.ErrNoCredentials)).To(BeTrue(), "%.80s: %v", tc.config, err)
			g.Expect(err.Error()).NotTo(ContainSubstring(canary))
			g.Expect(a).To(Equal(secrets.RegistryAuth{}))
			continue
		}
		g.Expect(err).NotTo(HaveOccurred(), tc.config)
		g.Expect(a.Username+":"+a.Password.Reveal()).To(Equal(tc.want), tc.config)
	}
}

func FuzzRegistry(f *testing.F) {
	f.Add([]byte(`{"auths":{"ghcr.io":{"auth":"dTpw"}}}`))
	f.Add([]byte(`{"auths":{"":{}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := reader(data{".dockerconfigjson": string(b)}, nil).Get(context.Background(), secrets.Ref{Name: "s"}, secrets.Registry)
		if err == nil && len(m.Registry.Hosts()) == 0 {
			t.Fatal("no host and no error")
		}
		a, err := secrets.RegistryCredential(b, "ghcr.io", "x/y")
		if (err == nil) == (a == secrets.RegistryAuth{}) {
			t.Fatalf("a credential: %t, %v", err == nil, err)
		}
	})
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeconfig_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/runtime/kubeconfig"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/tools/clientcmd"
)

// pair returns a self-signed certificate and its key in PEM form.
func pair(t testing.TB) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kb, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb})
}

// config is a kubeconfig whose entries can be replaced.
func config(cluster, user string) []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: main
preferences: {colors: true}
contexts:
- name: main
  context: {cluster: c, user: u, namespace: ignored}
- name: other
  context: {cluster: evil, user: evil}
clusters:
- name: evil
  cluster: {server: "file:///etc/passwd", certificate-authority: /etc/passwd}
- name: c
  cluster: {%s}
users:
- name: evil
  user: {exec: {command: /bin/sh}, tokenFile: /etc/shadow}
- name: u
  user: {%s}
`, cluster, user)
}

const https = `server: "https://10.0.0.1:6443"`

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// RT-90, RT-91, C09: accepted rows give what client-go's own loader would.
func TestAcceptedEqualsClientGo(t *testing.T) {
	cert, key := pair(t)
	cases := map[string][2]string{
		"Token":       {https, "token: abc"},
		"Basic":       {https, "username: a, password: b"},
		"ClientCert":  {https, "client-certificate-data: " + b64(cert) + ", client-key-data: " + b64(key)},
		"CA":          {https + ", certificate-authority-data: " + b64(cert), "token: abc"},
		"ServerName":  {https + ", tls-server-name: api.example.com", "token: abc"},
		"Compression": {https + ", disable-compression: true", "token: abc"},
		"Anonymous":   {https, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			data := config(c[0], c[1])
			got, err := kubeconfig.Parse(data, kubeconfig.Options{})
			g.Expect(err).NotTo(HaveOccurred())
			want, err := clientcmd.RESTConfigFromKubeConfig(data)
			g.Expect(err).NotTo(HaveOccurred())
			a := got.REST()
			g.Expect(a.Host).To(Equal(want.Host))
			g.Expect(a.BearerToken).To(Equal(want.BearerToken))
			g.Expect(a.Username + a.Password).To(Equal(want.Username + want.Password))
			g.Expect(a.TLSClientConfig).To(Equal(want.TLSClientConfig))
			g.Expect(a.DisableCompression).To(Equal(want.DisableCompression))
			g.Expect(a.ExecProvider).To(BeNil())
			g.Expect(a.BearerTokenFile + a.Impersonate.UserName).To(BeEmpty())
		})
	}
	g := NewWithT(t)
	got, err := kubeconfig.Parse(config(https+`, proxy-url: "socks5://127.0.0.1:1080"`, "token: a"), kubeconfig.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	u, err := got.REST().Proxy(nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(u.String()).To(Equal("socks5://127.0.0.1:1080"))
}

// RT-91, RT-92: every row that is never accepted, alone and beside a good
// credential.
func TestRefusedFields(t *testing.T) {
	user := map[string]string{
		"tokenFile": "/etc/shadow", "client-certificate": "/a", "client-key": "/b", "as": "admin", "as-uid": "1",
		"as-groups": "[system:masters]", "as-user-extra": "{a: [b]}", "auth-provider": "{name: gcp}", "exec": "{command: sh}", "unknown": "1", "Token": "x",
	}
	cluster := map[string]string{"certificate-authority": "/etc/passwd", "insecure-skip-tls-verify": "true", "unknown": "1", "Server": `"https://x"`}
	for _, with := range []string{"", "token: abc, "} {
		for f, v := range user {
			t.Run("user."+f+with, func(t *testing.T) {
				g := NewWithT(t)
				_, err := kubeconfig.Parse(config(https, with+f+": "+v), kubeconfig.Options{})
				var fe *kubeconfig.KubeconfigFieldError
				g.Expect(errors.As(err, &fe)).To(BeTrue(), "%v", err)
				g.Expect(fe.Field).To(Equal("users[1].user." + f))
				g.Expect(errors.Is(err, kubeconfig.ErrUnsupportedKubeconfigField)).To(BeTrue())
				g.Expect(fe.Terminal()).To(BeTrue())
				g.Expect(err.Error()).NotTo(ContainSubstring("abc"))
			})
		}
	}
	for f, v := range cluster {
		t.Run("cluster."+f, func(t *testing.T) {
			g := NewWithT(t)
			_, err := kubeconfig.Parse(config(https+", "+f+": "+v, "token: abc"), kubeconfig.Options{})
			var fe *kubeconfig.KubeconfigFieldError
			g.Expect(errors.As(err, &fe)).To(BeTrue(), "%v", err)
			g.Expect(fe.Field).To(Equal("clusters[1].cluster." + f))
		})
	}
	_, err := kubeconfig.Parse(config(`server: "http://10.0.0.1"`, "token: a"), kubeconfig.Options{})
	NewWithT(t).Expect(errors.Is(err, kubeconfig.ErrUnsupportedKubeconfigField)).To(BeTrue())
}

// N06, RT-92: a file named in the data is never opened. A FIFO would block.
func TestNoFileIsOpened(t *testing.T) {
	g := NewWithT(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	g.Expect(syscall.Mkfifo(fifo, 0o600)).To(Succeed())
	for _, user := range []string{"tokenFile: " + fifo, "token: a, tokenFile: " + fifo, "client-key: " + fifo} {
		_, err := kubeconfig.Parse(config(https, user), kubeconfig.Options{AllowExec: true, AllowInsecureTLS: true, Unsupported: kubeconfig.Drop})
		g.Expect(errors.Is(err, kubeconfig.ErrUnsupportedKubeconfigField)).To(BeTrue())
	}
	_, err := os.Stat(fifo)
	g.Expect(err).NotTo(HaveOccurred())
}

// N07, RT-91: opt-in and drop.
func TestOptIn(t *testing.T) {
	g := NewWithT(t)
	exec := `exec: {apiVersion: client.authentication.k8s.io/v1, command: login, args: ["a"], env: [{name: K, value: v}], interactiveMode: Never}`
	data := config(https+", insecure-skip-tls-verify: true", exec)
	t.Setenv("CANARY", "secret")
	got, err := kubeconfig.Parse(data, kubeconfig.Options{AllowExec: true, AllowInsecureTLS: true})
	g.Expect(err).NotTo(HaveOccurred())
	p := got.REST().ExecProvider
	g.Expect(p.Command).To(Equal("login"))
	g.Expect(p.Args).To(Equal([]string{"a"}))
	env := map[string]string{}
	for _, e := range p.Env {
		env[e.Name] = e.Value
	}
	g.Expect(env).To(And(HaveKeyWithValue("K", "v"), HaveKeyWithValue("CANARY", ""), HaveKeyWithValue("PATH", "")), "nothing is inherited")
	g.Expect(got.REST().Insecure).To(BeTrue())

	got, err = kubeconfig.Parse(data, kubeconfig.Options{Unsupported: kubeconfig.Drop})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got.REST().ExecProvider).To(BeNil())
	g.Expect(got.REST().Insecure).To(BeFalse())
	g.Expect(got.Dropped()).To(Equal([]string{"clusters[1].cluster.insecure-skip-tls-verify", "users[1].user.exec"}))
	_, err = kubeconfig.Parse(config(https+", certificate-authority: /x", exec), kubeconfig.Options{Unsupported: kubeconfig.Drop})
	g.Expect(errors.Is(err, kubeconfig.ErrUnsupportedKubeconfigField)).To(BeTrue(), "files are never dropped silently")
}

// RT-90, RT-91: shape of the document.
func TestMalformed(t *testing.T) {
	good := string(config(https, "token: secret-token"))
	aliases := "a: &a x\nb: [" + strings.Repeat("*a, ", 101) + "*a]\n"
	cases := map[string]string{
		"Empty": "", "Text": "hello", "List": "[1]", "NotYAML": "a: [", "TwoDocuments": good + "---\na: b\n", "Duplicate": good + "current-context: x\n",
		"DuplicateInUser": string(config(https, "token: a, token: b")), "Aliases": good + aliases, "NoContext": strings.Replace(good, "current-context: main", "current-context: none", 1),
		"NoCurrent": strings.Replace(good, "current-context: main\n", "", 1), "NoCluster": strings.Replace(good, "- name: c\n", "- name: d\n", 1),
		"NumberToken": string(config(https, "token: 12345")), "TokenLines": string(config(https, `token: "a\nb"`)), "HalfBasic": string(config(https, "username: a")),
		"UserInfo": string(config(`server: "https://a:b@10.0.0.1"`, "token: a")), "Relative": string(config(`server: "10.0.0.1"`, "token: a")),
		"BadCA": string(config(https+", certificate-authority-data: aGVsbG8=", "token: a")), "NotBase64": string(config(https+`, certificate-authority-data: "%%%"`, "token: a")),
		"HalfPair": string(config(https, "client-certificate-data: aGVsbG8=")), "ProxyScheme": string(config(https+`, proxy-url: "file:///x"`, "token: a")),
		"Deep": "a: " + strings.Repeat("[", 40) + strings.Repeat("]", 40), "Merge": strings.Replace(good, "user: {token: secret-token}", "user: {<<: {token: secret-token}}", 1),
	}
	for name, s := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := kubeconfig.Parse([]byte(s), kubeconfig.Options{})
			var se *kubeconfig.SyntaxError
			g.Expect(errors.As(err, &se)).To(BeTrue(), "%v", err)
			g.Expect(se.Terminal()).To(BeTrue())
			g.Expect(err.Error()).NotTo(ContainSubstring("secret-token"))
		})
	}
	g := NewWithT(t)
	_, err := kubeconfig.Parse([]byte(good+"# "+strings.Repeat("x", kubeconfig.MaxBytes-len(good)-1)), kubeconfig.Options{})
	var le *kubeconfig.LimitError
	g.Expect(errors.As(err, &le)).To(BeTrue())
	name, limit, got := le.Limit()
	g.Expect(name).To(Equal("kubeconfig"))
	g.Expect([]int64{limit, got}).To(Equal([]int64{65536, 65537}))
}

// RT-93, T61
func TestSecretAndInCluster(t *testing.T) {
	g := NewWithT(t)
	good := config(https, "token: a")
	for _, data := range []map[string][]byte{{"value": good}, {"value.yaml": good}, {"value": good, "value.yaml": []byte("x")}} {
		_, err := kubeconfig.FromSecret(data, "", kubeconfig.Options{})
		g.Expect(err).NotTo(HaveOccurred())
	}
	_, err := kubeconfig.FromSecret(map[string][]byte{"k": good}, "k", kubeconfig.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = kubeconfig.FromSecret(map[string][]byte{"value": good}, "k", kubeconfig.Options{})
	var ke *kubeconfig.KeyError
	g.Expect(errors.As(err, &ke)).To(BeTrue())
	g.Expect(ke.Tried).To(Equal([]string{"k"}))
	_, err = kubeconfig.FromSecret(nil, "", kubeconfig.Options{})
	g.Expect(err).To(MatchError("secret has no kubeconfig under key value or value.yaml"))

	own := kubeconfig.Options{InCluster: "https://10.0.0.1:6443"}
	_, err = kubeconfig.Parse(config(https, ""), own)
	g.Expect(errors.As(err, new(*kubeconfig.SyntaxError))).To(BeTrue(), "this cluster without a credential")
	_, err = kubeconfig.Parse(good, own)
	g.Expect(err).NotTo(HaveOccurred())
	a, _ := kubeconfig.Parse(good, kubeconfig.Options{})
	b, _ := kubeconfig.Parse(config(https, "token: b"), kubeconfig.Options{})
	g.Expect(a.Key()).NotTo(Equal(b.Key()))
	_, err = kubeconfig.Parse(good, kubeconfig.Options{Context: "other"})
	g.Expect(errors.Is(err, kubeconfig.ErrUnsupportedKubeconfigField)).To(BeTrue(), "the selected context counts")
}

func FuzzParse(f *testing.F) {
	f.Add(config(https, "token: a"))
	f.Add(config(https, "tokenFile: /x"))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("- 1\n---\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := kubeconfig.Parse(data, kubeconfig.Options{})
		if err != nil {
			var terminal interface{ Terminal() bool }
			if !errors.As(err, &terminal) || !terminal.Terminal() {
				t.Fatalf("not terminal: %v", err)
			}
			return
		}
		r := c.REST()
		if r.BearerTokenFile != "" || r.CAFile != "" || r.CertFile != "" || r.KeyFile != "" || r.ExecProvider != nil || r.Insecure || r.Impersonate.UserName != "" {
			t.Fatalf("accepted something forbidden: %+v", r)
		}
	})
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitops-kit/sdk/apis/meta"
	sourcev1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/testserver/gitserver"
)

// signer signs as ssh-keygen -Y sign -n git does.
func signer(t *testing.T, private []byte) gitserver.Signer {
	t.Helper()
	g := NewWithT(t)
	key, err := ssh.ParsePrivateKey(private)
	g.Expect(err).NotTo(HaveOccurred())
	return func(payload []byte) (string, error) {
		sum := sha512.Sum512(payload)
		signed := struct{ Namespace, Reserved, Hash, Sum string }{"git", "", "sha512", string(sum[:])}
		sig, err := key.Sign(rand.Reader, append([]byte("SSHSIG"), ssh.Marshal(signed)...))
		if err != nil {
			return "", err
		}
		blob := append([]byte("SSHSIG"), ssh.Marshal(struct {
			Version                        uint32
			Key, Namespace, Reserved, Hash string
			Signature                      string
		}{1, string(key.PublicKey().Marshal()), "git", "", "sha512", string(ssh.Marshal(sig))})...)
		var b bytes.Buffer
		b.WriteString("-----BEGIN SSH SIGNATURE-----\n")
		for text := base64.StdEncoding.EncodeToString(blob); text != ""; {
			n := min(len(text), 70)
			b.WriteString(text[:n] + "\n")
			text = text[n:]
		}
		b.WriteString("-----END SSH SIGNATURE-----")
		return b.String(), nil
	}
}

func TestVerification(t *testing.T) { // SRC-26, SRC-27, SRC-5, SRC-A6
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	private, public, err := gitserver.NewKey(gitserver.Ed25519, "")
	w.Expect(err).NotTo(HaveOccurred())
	_, stranger, err := gitserver.NewKey(gitserver.Ed25519, "")
	w.Expect(err).NotTo(HaveOccurred())
	sign := signer(t, private)
	signed := w.repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{Message: "Signed", Signer: sign})
	w.repo.AnnotatedTag("v1.0.0", "main", gitserver.TagOptions{Signer: sign})
	w.repo.AnnotatedTag("v1.1.0", "main", gitserver.TagOptions{})
	w.secret("keys", map[string]string{"ann.sshpub": public})
	verify := func(mode sourcev1.GitVerificationMode, ref sourcev1.GitRepositoryRef) func(*sourcev1.GitRepository) {
		return func(o *sourcev1.GitRepository) {
			o.Name = strings.ToLower(fmt.Sprintf("r-%s-%s%s", mode, ref.Branch, ref.Tag))
			o.Spec.Reference = &ref
			o.Spec.Verification = &sourcev1.GitRepositoryVerification{Mode: mode, SecretRef: meta.LocalObjectReference{Name: "keys"}}
		}
	}
	o := w.gitRepository(verify("HEAD", sourcev1.GitRepositoryRef{Branch: "main"}))
	w.awaitReady(o)
	c := w.await(o, sourcev1.SourceVerifiedCondition, metav1.ConditionTrue, "Succeeded")
	w.Expect(c.Message).To(HavePrefix("verified signature of\n\t- commit '" + string(signed) + "' with key '"))
	w.Expect(*o.Status.SourceVerificationMode).To(Equal(sourcev1.ModeGitHEAD))
	good := o.Status.Artifact.DeepCopy()

	both := w.gitRepository(verify("TagAndHEAD", sourcev1.GitRepositoryRef{Tag: "v1.0.0"}))
	w.awaitReady(both)
	c = w.await(both, sourcev1.SourceVerifiedCondition, metav1.ConditionTrue, "Succeeded")
	w.Expect(c.Message).To(And(ContainSubstring("- tag '"), ContainSubstring("- commit '")))

	unsigned := w.gitRepository(verify("Tag", sourcev1.GitRepositoryRef{Tag: "v1.1.0"}))
	w.await(unsigned, sourcev1.SourceVerifiedCondition, metav1.ConditionFalse, "InvalidGitObject")
	w.await(unsigned, meta.ReadyCondition, metav1.ConditionFalse, "InvalidGitObject")
	w.Expect(unsigned.Status.Artifact).To(BeNil())

	noTag := w.gitRepository(verify("Tag", sourcev1.GitRepositoryRef{Branch: "main"}))
	w.await(noTag, meta.StalledCondition, metav1.ConditionTrue, "InvalidVerificationMode")

	// An unsigned commit is refused; the last good artifact stays.
	w.repo.Commit("main", gitserver.Files{"a": "2"}, gitserver.CommitOptions{Message: "Unsigned"})
	w.request(o)
	w.await(o, sourcev1.SourceVerifiedCondition, metav1.ConditionFalse, "InvalidCommitSignature")
	w.await(o, meta.ReadyCondition, metav1.ConditionFalse, "InvalidCommitSignature")
	w.awaitEvent(o, corev1.EventTypeWarning, "InvalidCommitSignature", "sign with a key of the Secret in spec.verify.secretRef")
	w.Expect(o.Status.Artifact).To(Equal(good))

	// Other keys: what was verified before is not trusted any more.
	w.repo.Commit("main", gitserver.Files{"a": "3"}, gitserver.CommitOptions{Message: "Signed again", Signer: sign})
	w.request(o)
	w.awaitReady(o)
	w.await(o, sourcev1.SourceVerifiedCondition, metav1.ConditionTrue, "Succeeded")
	var s corev1.Secret
	w.Expect(w.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "keys"}, &s)).To(Succeed())
	s.Data["ann.sshpub"] = []byte(stranger)
	w.Expect(w.Update(w.ctx, &s)).To(Succeed())
	w.request(o)
	w.await(o, sourcev1.SourceVerifiedCondition, metav1.ConditionFalse, "InvalidCommitSignature")

	// Unconfigured: the verdict goes.
	o.Spec.Verification = nil
	w.Expect(w.Update(w.ctx, o)).To(Succeed())
	w.awaitReady(o)
	w.Expect(o.Status.SourceVerificationMode).To(BeNil())
	w.Expect(o.Status.Conditions).To(HaveLen(2))
}

// lockedKey makes a key with a passphrase and one round of derivation: the
// usual sixteen take minutes on a loaded machine under the race detector.
func lockedKey(w *world, passphrase string) (private []byte, public string) {
	file := filepath.Join(w.t.TempDir(), "key")
	out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-a", "1", "-N", passphrase, "-f", file).CombinedOutput()
	w.Expect(err).NotTo(HaveOccurred(), string(out))
	private, err = os.ReadFile(file)
	w.Expect(err).NotTo(HaveOccurred())
	line, err := os.ReadFile(file + ".pub")
	w.Expect(err).NotTo(HaveOccurred())
	fields := strings.Fields(string(line))
	w.Expect(len(fields)).To(BeNumerically(">=", 2))
	return private, strings.Join(fields[:2], " ") // without the comment
}

func TestAccess(t *testing.T) { // SRC-20, SRC-A4
	t.Parallel()
	w := newWorld(t, gitserver.Options{TLS: true, SSH: &gitserver.SSHOptions{HostKeys: []gitserver.KeyType{gitserver.Ed25519, gitserver.RSA2048}}})
	plain, plainPub, err := gitserver.NewKey(gitserver.ECDSA256, "")
	w.Expect(err).NotTo(HaveOccurred())
	locked, lockedPub := lockedKey(w, "open sesame")
	w.server.SetAuth(gitserver.Auth{
		Users: map[string]string{"ann": "pw"}, Tokens: map[string]string{"tok": "ann"},
		AuthorizedKeys: map[string]string{plainPub: "ann", lockedPub: "ann"},
	})
	w.commit("One", map[string]string{"a": "1"})
	ca, hosts := string(w.server.CA()), string(w.server.KnownHosts(gitserver.Hashed))
	for name, tc := range map[string]struct {
		ssh    bool
		data   map[string]string
		reason string
		text   string
	}{
		"basic":         {data: map[string]string{"username": "ann", "password": "pw", "ca.crt": ca}},
		"bearer":        {data: map[string]string{"bearerToken": "tok", "caFile": ca}},
		"both":          {data: map[string]string{"bearerToken": "tok", "username": "ann", "password": "pw", "ca.crt": ca}, reason: "AuthenticationFailed", text: "Secret"},
		"password-only": {data: map[string]string{"password": "pw", "ca.crt": ca}, reason: "AuthenticationFailed", text: "username"},
		"no-ca":         {data: map[string]string{"username": "ann", "password": "pw"}, reason: "GitOperationFailed", text: "set ca.crt in the Secret"},
		"key":           {ssh: true, data: map[string]string{"identity": string(plain), "known_hosts": hosts}},
		"locked":        {ssh: true, data: map[string]string{"identity": string(locked), "known_hosts": hosts, "password": "open sesame"}},
		"no-passphrase": {ssh: true, data: map[string]string{"identity": string(locked), "known_hosts": hosts}, reason: "AuthenticationFailed", text: "passphrase"},
		"no-hosts":      {ssh: true, data: map[string]string{"identity": string(plain)}, reason: "AuthenticationFailed", text: "known_hosts"},
	} {
		w.secret(name, tc.data)
		o := w.gitRepository(func(o *sourcev1.GitRepository) {
			o.Name, o.Spec.SecretRef = name, &meta.LocalObjectReference{Name: name}
			if tc.ssh {
				o.Spec.URL = w.repo.SSHURL()
			}
		})
		if tc.reason == "" {
			w.awaitReady(o)
			continue
		}
		w.awaitText(o, meta.ReadyCondition, metav1.ConditionFalse, tc.reason, tc.text)
		w.Expect(o.Status.Artifact).To(BeNil(), name)
	}
}

func TestSubmodulesAndSparseCheckout(t *testing.T) { // SRC-25, SRC-29, SRC-A7
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	w.repo.Commit("main", gitserver.Files{"deploy/a": "1", "docs/b": "2"}, gitserver.CommitOptions{Message: "One"})
	lib := w.server.Repo("lib")
	id := lib.Commit("main", gitserver.Files{"x": "lib"}, gitserver.CommitOptions{Message: "Lib"})
	w.repo.Submodule("main", "vendor/lib", "../lib", id, gitserver.CommitOptions{Message: "Submodule"})

	all := w.gitRepository(func(o *sourcev1.GitRepository) { o.Name, o.Spec.RecurseSubmodules = "all", true })
	w.awaitReady(all)
	w.Expect(w.names(all.Status.Artifact)).To(Equal(map[string]string{"deploy/a": "1", "docs/b": "2", "vendor/lib/x": "lib"}))
	w.Expect(all.Status.ObservedRecurseSubmodules).To(BeTrue())

	sparse := w.gitRepository(func(o *sourcev1.GitRepository) { o.Name, o.Spec.SparseCheckout = "sparse", []string{"./deploy"} })
	w.awaitReady(sparse)
	w.Expect(w.names(sparse.Status.Artifact)).To(Equal(map[string]string{"deploy/a": "1"}))
	w.Expect(sparse.Status.ObservedSparseCheckout).To(Equal([]string{"deploy"}))
	sparse.Spec.SparseCheckout = []string{"missing"}
	w.Expect(w.Update(w.ctx, sparse)).To(Succeed())
	w.refused(sparse, "GitOperationFailed", "missing", "check spec.sparseCheckout")
	w.Expect(w.names(sparse.Status.Artifact)).To(Equal(map[string]string{"deploy/a": "1"}))
}

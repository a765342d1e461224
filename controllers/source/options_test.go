// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package source_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/spf13/pflag"

	"github.com/gitops-kit/sdk/apis/meta"
	v1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/controllers/source"
	"github.com/gitops-kit/sdk/git"
)

func repository(change func(*v1.GitRepository)) *v1.GitRepository {
	o := &v1.GitRepository{}
	o.Name, o.Namespace = "app", "team"
	o.Spec.URL = "https://git.example.com/app.git"
	o.Spec.Interval = *meta.NewDuration(time.Minute)
	if change != nil {
		change(o)
	}
	return o
}

func TestReasonFollowsTypes(t *testing.T) { // SRC-6, SRC-26, SRC-31, SRC-88
	for name, tc := range map[string]struct {
		step              source.Step
		err               error
		condition, reason string
		class             source.Class
	}{
		"url":            {source.StepFetch, git.ErrInvalidURL, "FetchFailed", "URLInvalid", source.Stalling},
		"credentials":    {source.StepFetch, &git.Error{Op: "list", Err: git.ErrAuth}, "FetchFailed", "AuthenticationFailed", source.Generic},
		"host key":       {source.StepFetch, &git.Error{Op: "list", Err: git.ErrHostKeyUnknown}, "FetchFailed", "AuthenticationFailed", source.Generic},
		"passphrase":     {source.StepFetch, &git.Error{Op: "list", Err: git.ErrKeyPassphrase}, "FetchFailed", "AuthenticationFailed", source.Generic},
		"missing branch": {source.StepFetch, &git.Error{Op: "resolve", Err: git.ErrRefNotFound}, "FetchFailed", "GitOperationFailed", source.Generic},
		"empty":          {source.StepFetch, &git.Error{Op: "resolve", Err: git.ErrEmptyRepository}, "FetchFailed", "EmptyGitRepository", source.Generic},
		"limit":          {source.StepFetch, &git.Error{Op: "fetch", Err: &git.LimitError{Name: "git-pack", Max: 1, Got: 2}}, "FetchFailed", "LimitExceeded", source.Generic},
		"blocked":        {source.StepFetch, &git.Error{Op: "list", Err: &git.AddressError{Host: "h"}}, "FetchFailed", "AddressBlocked", source.Generic},
		"not a tag":      {source.StepFetch, &git.Error{Op: "verify", Err: git.ErrNotATag}, "SourceVerified", "InvalidVerificationMode", source.Stalling},
		"full":           {source.StepStore, fmt.Errorf("write: %w", artifact.ErrStorageFull), "StorageOperationFailed", "StorageFull", source.Generic},
		"pack":           {source.StepStore, errors.New("pack"), "StorageOperationFailed", "ArchiveOperationFailed", source.Generic},
		"locked":         {source.StepStorage, artifact.ErrLocked, "StorageOperationFailed", "AcquireLockFailed", source.Generic},
		"stat":           {source.StepStorage, errors.New("stat"), "StorageOperationFailed", "StatOperationFailed", source.Generic},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			condition, reason, class := source.Reason(tc.step, tc.err)
			g.Expect([]any{condition, reason, class}).To(Equal([]any{tc.condition, tc.reason, tc.class}))
		})
	}
}

func TestFailureHidesTheEnginesVerdict(t *testing.T) { // SRC-6
	g := NewWithT(t)
	cause := &git.LimitError{Name: "git-pack", Max: 1, Got: 2}
	g.Expect(cause.Terminal()).To(BeTrue())
	var terminal interface{ Terminal() bool }
	err := error(&source.RunError{Why: "LimitExceeded", Class: source.Generic, Text: "too much", Err: cause})
	g.Expect(errors.As(err, &terminal)).To(BeTrue())
	g.Expect(terminal.Terminal()).To(BeFalse())
	g.Expect(errors.Is(err, git.ErrLimit)).To(BeTrue())
}

func TestValidate(t *testing.T) { // SRC-20, SRC-80, WIRE-14
	off := func(string) bool { return false }
	for name, tc := range map[string]struct {
		change func(*v1.GitRepository)
		reason string
	}{
		"http":             {func(o *v1.GitRepository) { o.Spec.URL = "HTTP://git.example.com/a" }, "InsecureConnectionsDisallowed"},
		"github, no data":  {func(o *v1.GitRepository) { o.Spec.Provider = "github" }, "InvalidProviderConfiguration"},
		"account, no gate": {func(o *v1.GitRepository) { o.Spec.Provider, o.Spec.ServiceAccountName = "azure", "a" }, "FeatureGateDisabled"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			err := source.Validate(repository(tc.change), off, false)
			var f *source.RunError
			g.Expect(errors.As(err, &f)).To(BeTrue())
			g.Expect(f.Reason()).To(Equal(tc.reason))
			g.Expect(f.Terminal()).To(BeTrue())
		})
	}
	g := NewWithT(t)
	g.Expect(source.Validate(repository(nil), off, false)).To(Succeed())
	g.Expect(source.Validate(repository(func(o *v1.GitRepository) { o.Spec.URL = "http://x/y" }), off, true)).To(Succeed())
}

func TestReferenceDefaultsToMaster(t *testing.T) { // SRC-21
	g := NewWithT(t)
	g.Expect(source.ReferenceOf(repository(nil))).To(Equal(git.Reference{Branch: "master"}))
	g.Expect(source.ReferenceOf(repository(func(o *v1.GitRepository) { o.Spec.Reference = &v1.GitRepositoryRef{} }))).To(Equal(git.Reference{Branch: "master"}))
	all := v1.GitRepositoryRef{Branch: "b", Tag: "t", SemVer: "s", Name: "n", Commit: "c"}
	g.Expect(source.ReferenceOf(repository(func(o *v1.GitRepository) { o.Spec.Reference = &all }))).
		To(Equal(git.Reference{Branch: "b", Tag: "t", SemVer: "s", Name: "n", Commit: "c"}))
}

func TestInputsDecideAboutRebuilding(t *testing.T) { // SRC-11, SRC-29
	g := NewWithT(t)
	text := "*.md"
	o := repository(func(o *v1.GitRepository) {
		o.Spec.Ignore = &text
		o.Spec.SparseCheckout = []string{"./deploy", "lib"}
		o.Spec.RecurseSubmodules = true
		o.Spec.Include = []v1.GitRepositoryInclude{{GitRepositoryRef: meta.LocalObjectReference{Name: "lib"}}}
	})
	a := meta.Artifact{Revision: "main@sha1:1", Digest: "sha256:1"}
	in := source.Inputs(o, a)
	g.Expect(in.Sparse).To(Equal([]string{"deploy", "lib"}))
	g.Expect(in.Equal(source.Observed(o))).To(BeFalse())
	in.Record(o)
	g.Expect(in.Equal(source.Observed(o))).To(BeTrue())
	for name, change := range map[string]func(k *source.InputKey){
		"ignore":       func(k *source.InputKey) { k.Ignore = nil },
		"ignore text":  func(k *source.InputKey) { other := ""; k.Ignore = &other },
		"sparse":       func(k *source.InputKey) { k.Sparse = nil },
		"submodules":   func(k *source.InputKey) { k.Submodules = false },
		"include":      func(k *source.InputKey) { k.Include = nil },
		"new included": func(k *source.InputKey) { k.Included = []meta.Artifact{{Revision: "main@sha1:2", Digest: "sha256:2"}} },
	} {
		other := source.Inputs(o, a)
		change(&other)
		g.Expect(other.Equal(source.Observed(o))).To(BeFalse(), name)
	}
}

func TestFlags(t *testing.T) { // SRC-70, SRC-76, WIRE-11, WIRE-15
	parse := func(g *WithT, args ...string) (source.Flags, error) {
		var f source.Flags
		fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
		f.AddFlags(fs)
		g.Expect(fs.Parse(args)).To(Succeed())
		return f, f.Validate()
	}
	for _, bad := range []string{
		"--storage-path=", "--storage-addr=nothing", "--artifact-digest-algo=md5", "--ignore-semantics=odd",
		"--artifact-retention-records=0", "--storage-verify-every=0", "--limit=git-pack", "--limit=unknown=1",
		"--storage-backend=odd", "--storage-backend=oci", "--storage-oci-insecure", "--storage-oci-url=oci://h/x",
	} {
		g := NewWithT(t)
		_, err := parse(g, bad)
		g.Expect(err).To(MatchError(ContainSubstring("--")), bad)
	}
	t.Setenv("HOSTNAME", "box")
	g := NewWithT(t)
	for args, want := range map[string]string{
		"--storage-addr=:9090":                     "localhost:9090",
		"--storage-addr=0.0.0.0:80":                "box:80",
		"--storage-addr=[::]:80":                   "box:80",
		"--storage-addr=10.0.0.1:80":               "10.0.0.1:80",
		"--storage-adv-addr=https://files.example": "https://files.example",
	} {
		f, err := parse(g, args)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(f.BaseURL()).To(Equal(want), args)
		g.Expect(f.StoragePath).To(Equal("/data"))
	}
	for address, ok := range map[string]bool{
		"oci://registry.example:5000/team/artifacts": true, "https://h/x": false, "oci://h": false, "oci://u:p@h/x": false,
		"oci://h/x:tag": false, "oci://h/../x": false, "oci://h/x?a=b": false, "oci://h/UPPER": false,
	} {
		_, err := parse(g, "--storage-backend=oci", "--storage-oci-url="+address)
		g.Expect(err == nil).To(Equal(ok), "%s: %v", address, err)
	}
	f, err := parse(g, "--storage-shared")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(f.StorageShared).To(BeTrue())
	f, err = parse(g, "--storage-path=/flag", "--limit=git-pack=10")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(f.StoragePath).To(Equal("/flag"))
	g.Expect(f.StorageShared).To(BeFalse())
	g.Expect(f.Limits).To(Equal(map[string]int64{"git-pack": 10}))
	g.Expect(source.Options().Env).To(Equal(map[string]string{
		"STORAGE_PATH": "storage-path", "STORAGE_ADDRESS": "storage-addr", "STORAGE_ADV_ADDR": "storage-adv-addr",
		"METRICS_ADDR": "metrics-addr", "EVENTS_ADDR": "events-addr",
	}))
	g.Expect(source.Options().Defaults).To(HaveKeyWithValue("concurrent", "2"))
}

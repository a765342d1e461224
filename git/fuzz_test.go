// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/gitops-kit/sdk/git"
	"golang.org/x/crypto/ssh"
)

// FuzzKnownHosts parses any bytes as known_hosts and asks for a host.
func FuzzKnownHosts(f *testing.F) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJHqJcL0cL7KqgMDpcOhFtRIrVZ6mYXWi6sFOiF3UCiT"
	for _, s := range []string{
		"h " + key + "\n", "[h]:22,i " + key + " c\n", "@cert-authority *.h " + key + "\n", "@revoked * " + key + "\n", "# c\n\n",
		"|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= " + key + "\n", "!h,* " + key + "\r\n", "@x h " + key + "\n", "h ssh-rsa AAAA\n",
	} {
		f.Add([]byte(s))
	}
	safe := ssh.SupportedAlgorithms().HostKeys
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		algorithms, err := git.ParseKnownHosts(b, dir, "h:22")
		if err != nil {
			if !errors.Is(err, git.ErrHostKeyUnknown) && !errors.Is(err, git.ErrInvalidOption) && !errors.Is(err, git.ErrLimit) {
				t.Fatalf("no type: %v", err)
			}
			return
		}
		if slices.Contains(algorithms, ssh.KeyAlgoRSA) { //nolint:staticcheck // named to be refused
			t.Fatalf("%v offers SHA-1; safe are %v", algorithms, safe)
		}
	})
}

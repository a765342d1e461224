// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package sign_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"

	"github.com/gitops-kit/sdk/git/sign"
)

// Example signs with an SSH key and verifies: the payload, then a changed one.
func Example() {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		fmt.Println(err)
		return
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	trusted, err := ssh.NewPublicKey(pub)
	if err != nil {
		fmt.Println(err)
		return
	}
	signer, err := sign.NewSSH(pem.EncodeToMemory(block), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	sig, err := signer.Sign(context.Background(), []byte("payload"))
	if err != nil {
		fmt.Println(err)
		return
	}
	keys := sign.Keys{SSH: [][]byte{ssh.MarshalAuthorizedKey(trusted)}}
	res, err := keys.Verify(sig, []byte("payload"))
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = keys.Verify(sig, []byte("another payload"))
	fmt.Println(res.Format, res.KeyID == ssh.FingerprintSHA256(trusted), errors.Is(err, sign.ErrVerificationFailed))
	// Output: ssh true true
}

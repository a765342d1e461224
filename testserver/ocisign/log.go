// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ocisign

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

const (
	logOrigin = "log.example.test"
	logTree   = 1 // a log is made of trees, one of which is written to
)

// transparencyLog is an append-only Merkle tree of entries (RFC 6962).
type transparencyLog struct {
	key    *ecdsa.PrivateKey
	leaves [][32]byte
}

// entry is what the log says about a signature.
type entry struct {
	kind, version string
	body          []byte
	index         int
	time          int64
	id            [32]byte
	promise       []byte // signed entry timestamp
	root          [32]byte
	size          int
	proof         [][32]byte
	checkpoint    string
}

// add logs a body and proves that it did.
func (l *transparencyLog) add(kind string, spec any, when time.Time) (entry, error) {
	const version = "0.0.1"
	body, err := json.Marshal(map[string]any{"apiVersion": version, "kind": kind, "spec": spec})
	if err != nil {
		return entry{}, err
	}
	spki, err := x509.MarshalPKIXPublicKey(&l.key.PublicKey)
	if err != nil {
		return entry{}, err
	}
	e := entry{kind: kind, version: version, body: body, index: len(l.leaves), time: when.Unix(), id: sha256.Sum256(spki)}
	l.leaves = append(l.leaves, sha256.Sum256(append([]byte{0}, body...)))
	e.size = len(l.leaves)
	e.root, e.proof = treeHash(l.leaves), inclusion(l.leaves, e.index)
	promise, err := json.Marshal(e.payload()) // a map: sorted, as it has to be
	if err != nil {
		return entry{}, err
	}
	if e.promise, err = signDigest(l.key, promise); err != nil {
		return entry{}, err
	}
	note := fmt.Sprintf("%s - %d\n%d\n%s\n", logOrigin, logTree, e.size, base64.StdEncoding.EncodeToString(e.root[:]))
	sig, err := signDigest(l.key, []byte(note))
	if err != nil {
		return entry{}, err
	}
	e.checkpoint = fmt.Sprintf("%s\n— %s %s\n", note, logOrigin, base64.StdEncoding.EncodeToString(append(e.id[:4:4], sig...)))
	return e, nil
}

// payload is what the promise is about.
func (e entry) payload() map[string]any {
	return map[string]any{
		"body":           base64.StdEncoding.EncodeToString(e.body),
		"integratedTime": e.time, "logIndex": e.index, "logID": hex.EncodeToString(e.id[:]),
	}
}

// annotation is the form in which cosign keeps it beside a signature.
func (e entry) annotation() (string, error) {
	b, err := json.Marshal(map[string]any{"SignedEntryTimestamp": e.promise, "Payload": e.payload()})
	return string(b), err
}

// bundled is the form in bundles.
func (e entry) bundled() map[string]any {
	hashes := [][]byte{}
	for _, h := range e.proof {
		hashes = append(hashes, h[:])
	}
	return map[string]any{
		"logIndex": fmt.Sprint(e.index), "logId": map[string]any{"keyId": e.id[:]},
		"kindVersion":    map[string]any{"kind": e.kind, "version": e.version},
		"integratedTime": fmt.Sprint(e.time), "canonicalizedBody": e.body,
		"inclusionPromise": map[string]any{"signedEntryTimestamp": e.promise},
		"inclusionProof": map[string]any{
			"logIndex": fmt.Sprint(e.index), "rootHash": e.root[:], "treeSize": fmt.Sprint(e.size), "hashes": hashes,
			"checkpoint": map[string]any{"envelope": e.checkpoint},
		},
	}
}

// split is the largest power of two below n.
func split(n int) int {
	k := 1
	for k*2 < n {
		k *= 2
	}
	return k
}

func treeHash(leaves [][32]byte) [32]byte {
	if len(leaves) == 1 {
		return leaves[0]
	}
	k := split(len(leaves))
	left, right := treeHash(leaves[:k]), treeHash(leaves[k:])
	return sha256.Sum256(append(append([]byte{1}, left[:]...), right[:]...))
}

func inclusion(leaves [][32]byte, i int) [][32]byte {
	if len(leaves) == 1 {
		return nil
	}
	k := split(len(leaves))
	if i < k {
		return append(inclusion(leaves[:k], i), treeHash(leaves[k:]))
	}
	return append(inclusion(leaves[k:], i-k), treeHash(leaves[:k]))
}

// signDigest signs the SHA-256 of data.
func signDigest(key *ecdsa.PrivateKey, data []byte) ([]byte, error) {
	sum := sha256.Sum256(data)
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return sig, nil
}

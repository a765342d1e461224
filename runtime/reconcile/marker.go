// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/gitops-kit/sdk/apis/meta"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// markerDeaths is the number of process deaths after which an object is not
	// run any more.
	markerDeaths = 3
	markerSuffix = ".run"
	markerBytes  = 4 << 10
)

// marker says that a run is in progress. A process that dies leaves it behind.
type marker struct {
	Kind       string    `json:"kind"`
	Namespace  string    `json:"namespace"`
	Name       string    `json:"name"`
	UID        types.UID `json:"uid"`
	Generation int64     `json:"generation"`
	Token      string    `json:"token,omitempty"`
	Deaths     int       `json:"deaths"`
	PID        int       `json:"pid"`
	Boot       string    `json:"boot"`
}

// bootID tells this process from others that had the same process id.
var bootID = sync.OnceValue(rand.Text) //nolint:gochecknoglobals // constant once known

// alive reports whether the process that wrote the marker still runs: it is this
// one, or another one that may share the directory.
func (x marker) alive(boot string) bool {
	if x.Boot == boot {
		return true
	}
	if x.PID <= 0 || x.PID == os.Getpid() {
		return false
	}
	p, err := os.FindProcess(x.PID)
	return err == nil && p.Signal(syscall.Signal(0)) == nil
}

// skippedError ends the run of an object during which the process died thrice.
type skippedError struct{}

func (*skippedError) Error() string {
	return "skipped: the process ended 3 times during this object's run"
}
func (*skippedError) Reason() string { return meta.ReconcilePanicReason }
func (*skippedError) Terminal() bool { return true }

// markers keeps the markers of one kind in a directory.
type markers struct {
	dir  *os.Root
	kind string
	boot string

	alone sync.Mutex // suspects run one at a time
	mu    sync.Mutex
	found map[types.UID]marker
}

// openMarkers reads what an earlier process left. A directory that cannot be
// used gives an error and no markers.
func openMarkers(path, kind, boot string) (*markers, error) {
	path = filepath.Join(path, "gitops-kit-runs-"+strings.ToLower(kind))
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	dir, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	m := &markers{dir: dir, kind: kind, boot: boot, found: map[types.UID]marker{}}
	d, err := dir.Open(".")
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	defer func() { _ = d.Close() }()
	names, err := d.Readdirnames(maxParked)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, dir.Close())
	}
	for _, n := range names {
		if !strings.HasSuffix(n, markerSuffix) {
			continue
		}
		if x, ok := m.read(n); ok && x.Kind == kind {
			if x.alive(boot) {
				continue
			}
			x.Deaths++
			x.PID = 0
			m.found[x.UID] = x
			_ = m.store(x) // a death before the next run of the object must count, too
		} else {
			_ = dir.Remove(n)
		}
	}
	return m, nil
}

func (m *markers) read(name string) (x marker, ok bool) {
	f, err := m.dir.Open(name)
	if err != nil {
		return x, false
	}
	defer func() { _ = f.Close() }()
	return x, json.NewDecoder(io.LimitReader(f, markerBytes)).Decode(&x) == nil && x.UID != ""
}

// begin marks a run; end removes the mark. A suspect waits for other suspects;
// one that survived three deaths is refused until generation or token change.
func (m *markers) begin(o Object) (end func(), err error) {
	if m == nil {
		return func() {}, nil
	}
	x := marker{
		Kind: m.kind, Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(), Generation: o.GetGeneration(), Token: tokenOf(o),
		PID: os.Getpid(), Boot: m.boot,
	}
	m.mu.Lock()
	old, suspect := m.found[x.UID]
	if suspect && (old.Generation != x.Generation || old.Token != x.Token) {
		suspect = false
		delete(m.found, x.UID)
	}
	m.mu.Unlock()
	if suspect && old.Deaths >= markerDeaths {
		return nil, &skippedError{}
	}
	if suspect {
		m.alone.Lock()
		x.Deaths = old.Deaths
	}
	if err := m.store(x); err != nil {
		if suspect {
			m.alone.Unlock()
		}
		return func() {}, nil // without a marker the run is merely not protected
	}
	return func() {
		_ = m.dir.Remove(markerName(x.UID))
		if suspect {
			m.mu.Lock()
			delete(m.found, x.UID)
			m.mu.Unlock()
			m.alone.Unlock()
		}
	}, nil
}

func (m *markers) store(x marker) error {
	data, err := json.Marshal(x)
	if err != nil {
		return err
	}
	return m.dir.WriteFile(markerName(x.UID), data, 0o600)
}

// markerName is safe whatever the UID is.
func markerName(uid types.UID) string {
	sum := sha256.Sum256([]byte(uid))
	return hex.EncodeToString(sum[:16]) + markerSuffix
}

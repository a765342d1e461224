// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
)

// dir is where a control plane keeps its files. Everything in it was made by
// this program and is removed by it, on every way out.
type dir struct {
	path       string
	socketDir  string
	log        string
	kubeconfig string
	wrote      atomic.Bool // kubeconfig, or began to: from then on it is ours
	keep       bool
	made       bool // the directory itself is ours
	outside    bool // socketDir is not in it
	run        *os.File
	lock       *os.File
	once       sync.Once
}

// Names in the data directory.
const (
	etcdDir        = "etcd"
	pkiDir         = "pki"
	runDir         = "run"
	logFile        = "controlplane.log"
	lockFile       = "lock"
	kubeconfigFile = "kubeconfig"
	auditPolicy    = "audit-policy.yaml"
)

// maxSocketPath leaves room for the shortest limit of socket addresses, 104
// bytes with the closing zero.
const maxSocketPath = 100

func newDir(o Options) (*dir, error) {
	d := &dir{path: o.DataDir, log: o.Log, kubeconfig: o.Kubeconfig, keep: o.Keep}
	if err := d.prepare(); err != nil {
		d.remove()
		return nil, err
	}
	return d, nil
}

func (d *dir) prepare() (err error) {
	switch {
	case d.path == "":
		if d.path, err = os.MkdirTemp("", "gitops-kit-"); err != nil {
			return err
		}
		d.made = true
	default:
		// The lock file of an earlier run that was killed says that the
		// directory was made by this program.
		_, dirErr := os.Stat(d.path)
		_, lockErr := os.Stat(d.file(lockFile))
		if err := os.MkdirAll(d.path, 0o700); err != nil {
			return err
		}
		d.made = errors.Is(dirErr, os.ErrNotExist) || lockErr == nil
	}
	if err := d.acquire(); err != nil {
		return err
	}
	if d.log == "" {
		d.log = d.file(logFile)
	}
	if d.kubeconfig == "" {
		d.kubeconfig = d.file(kubeconfigFile)
	}
	return d.makeSocketDir()
}

// acquire refuses a directory that another control plane uses.
func (d *dir) acquire() error {
	f, err := os.OpenFile(d.file(lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		path := d.path
		d.path, d.made = "", false // nothing here is ours to remove
		return fmt.Errorf("data directory %q is in use: %w", path, err)
	}
	d.lock = f
	return nil
}

// makeSocketDir makes a private directory whose path is short, because socket
// addresses are. It is in the data directory, so that whoever removes that one
// for a program that died leaves nothing; a long path is made short by a name
// that the system has for an open directory. Only where there is no such name
// it is another directory.
func (d *dir) makeSocketDir() error {
	inside := d.file(runDir)
	if err := os.MkdirAll(inside, 0o700); err != nil {
		return err
	}
	d.socketDir = inside
	if shortEnough(inside) {
		return nil
	}
	if short, err := d.shortName(inside); err == nil && shortEnough(short) {
		d.socketDir = short
		return nil
	}
	bases := []string{os.TempDir(), "/tmp", "/var/tmp"}
	var errs []error
	for _, base := range bases {
		path, err := os.MkdirTemp(base, "gk-")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if shortEnough(path) {
			d.socketDir, d.outside = path, true
			return nil
		}
		errs = append(errs, os.Remove(path))
	}
	return fmt.Errorf("no directory with a path short enough for a socket: %w", errors.Join(errs...))
}

func shortEnough(dir string) bool { return len(filepath.Join(dir, "etcd")) <= maxSocketPath }

// shortName opens a directory and returns the name that the system has for it
// while it is open, if there is one that leads there.
func (d *dir) shortName(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	// The process by its number, not as "self": other components may be
	// processes of their own.
	short := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())
	here, err := f.Stat()
	if err == nil {
		var there os.FileInfo
		if there, err = os.Stat(short); err == nil && !os.SameFile(here, there) {
			err = os.ErrNotExist
		}
	}
	if err != nil {
		return "", errors.Join(err, f.Close())
	}
	d.run = f
	return short, nil
}

func (d *dir) file(name string) string { return filepath.Join(d.path, name) }

func (d *dir) socket() string { return filepath.Join(d.socketDir, "etcd") }

// remove deletes what this program made. It may be called more than once.
func (d *dir) remove() {
	d.once.Do(func() {
		if d.outside {
			removeAll(d.socketDir)
		}
		if d.run != nil {
			_ = d.run.Close()
		}
		if d.wrote.Load() {
			_ = os.Remove(d.kubeconfig)
		}
		if d.path == "" {
			return
		}
		if !d.keep {
			for _, name := range []string{etcdDir, pkiDir, logFile, auditPolicy} {
				removeAll(d.file(name))
			}
		}
		removeAll(d.file(runDir))
		_ = os.Remove(d.file(lockFile))
		if d.lock != nil {
			_ = d.lock.Close()
		}
		if d.made && !d.keep {
			removeAll(d.path)
		}
	})
}

// removeAll removes a directory into which a component that did not end in time
// may still be writing.
func removeAll(path string) {
	for range 10 {
		if os.RemoveAll(path) == nil {
			return
		}
	}
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/gitops-kit/sdk/controllers/internal/blobregistry"
)

const backendOCI = "oci"

// Flags are the source controller's own flags. The zero value is not usable:
// AddFlags sets the defaults.
type Flags struct {
	// StoragePath is the directory artifacts are kept in; with a registry, that
	// of the local cache.
	StoragePath string
	// StorageBackend is dir or oci.
	StorageBackend string
	// StorageShared says that StoragePath is a volume that all replicas read and
	// write: all of them serve. With a registry that is so anyhow.
	StorageShared bool
	// StorageOCIURL is the repository for artifacts, "oci://host[:port]/path".
	StorageOCIURL string
	// StorageOCISecret is a Docker configuration file with the credentials of
	// the registry, such as a mounted Secret. Empty: anonymous.
	StorageOCISecret string
	// StorageOCICA is a PEM file of certificate authorities for the registry.
	// Empty: those of the system.
	StorageOCICA string
	// StorageOCIInsecure speaks plain HTTP with the registry.
	StorageOCIInsecure bool
	// StorageAddr is the listen address of the artifact server.
	StorageAddr string
	// StorageAdvAddr is the host, or URL prefix, written into artifact URLs.
	// Empty: derived from StorageAddr.
	StorageAdvAddr string
	// StorageVerifyEvery says how often a run hashes the stored file instead
	// of looking at size and time: every n-th run.
	StorageVerifyEvery int
	// RetentionTTL and RetentionRecords keep superseded artifacts: a file goes
	// when it is older than the first and beyond the second.
	RetentionTTL     time.Duration
	RetentionRecords int
	// DigestAlgo is the digest algorithm of new artifacts.
	DigestAlgo string
	// MirrorMaxBytes bounds the objects kept between fetches. 0: none kept.
	MirrorMaxBytes int64
	// KexAlgos and HostKeyAlgos restrict SSH. Empty: the engine's defaults.
	KexAlgos, HostKeyAlgos []string
	// IgnoreSemantics is compat or git.
	IgnoreSemantics string
	// Limits holds --limit values by name.
	Limits map[string]int64

	limits []string
}

var limitNames = []string{ //nolint:gochecknoglobals // constant
	"git-pack", "git-inflated", "git-object", "git-objects", "git-refs", "git-advertisement",
	"worktree-files", "worktree-bytes", "worktree-depth", "artifact",
}

// AddFlags registers the flags and sets their defaults.
func (f *Flags) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&f.StoragePath, "storage-path", "/data", "directory in which artifacts are stored")
	fs.StringVar(&f.StorageBackend, "storage-backend", "dir", "where artifacts are kept: dir, or oci for a registry that replicas share")
	fs.BoolVar(&f.StorageShared, "storage-shared", false, "the directory is a volume that all replicas read and write, and each of them serves")
	fs.StringVar(&f.StorageOCIURL, "storage-oci-url", "", "repository for artifacts, oci://host[:port]/path")
	fs.StringVar(&f.StorageOCISecret, "storage-oci-secret", "", "docker config file with the credentials of the registry, such as a mounted secret")
	fs.StringVar(&f.StorageOCICA, "storage-oci-ca", "", "PEM file of certificate authorities for the registry, empty for the system's")
	fs.BoolVar(&f.StorageOCIInsecure, "storage-oci-insecure", false, "speak plain HTTP with the registry")
	fs.StringVar(&f.StorageAddr, "storage-addr", ":9090", "listen address of the artifact server")
	fs.StringVar(&f.StorageAdvAddr, "storage-adv-addr", "", "advertised host or URL prefix of the artifact server")
	fs.IntVar(&f.StorageVerifyEvery, "storage-verify-every", 10, "hash the stored artifact in every n-th run")
	fs.DurationVar(&f.RetentionTTL, "artifact-retention-ttl", time.Minute, "how long superseded artifacts are kept at least")
	fs.IntVar(&f.RetentionRecords, "artifact-retention-records", 2, "how many artifacts per object are kept at least")
	fs.StringVar(&f.DigestAlgo, "artifact-digest-algo", "sha256", "digest algorithm of artifacts: sha256, sha384, sha512, blake3")
	fs.Int64Var(&f.MirrorMaxBytes, "git-mirror-max-bytes", 4<<30, "bytes of Git objects kept between fetches, 0 for none")
	fs.StringSliceVar(&f.KexAlgos, "ssh-kex-algos", nil, "allowed SSH key exchange algorithms, empty for the defaults")
	fs.StringSliceVar(&f.HostKeyAlgos, "ssh-hostkey-algos", nil, "allowed SSH host key algorithms, empty for the defaults")
	fs.StringVar(&f.IgnoreSemantics, "ignore-semantics", "compat", "compat: ! re-includes below an excluded directory; git: as git does")
	fs.StringArrayVar(&f.limits, "limit", nil, "change a limit, name=value, repeatable; negative for none")
}

// Validate checks the values; it does no I/O.
func (f *Flags) Validate() error {
	var errs []error
	if f.StoragePath == "" {
		errs = append(errs, errors.New("--storage-path is empty"))
	}
	errs = append(errs, f.validateBackend()...)
	if _, _, err := net.SplitHostPort(f.StorageAddr); err != nil {
		errs = append(errs, fmt.Errorf("--storage-addr %q: %w", f.StorageAddr, err))
	}
	if !slices.Contains([]string{"sha256", "sha384", "sha512", "blake3"}, f.DigestAlgo) {
		errs = append(errs, fmt.Errorf("--artifact-digest-algo %q is not supported", f.DigestAlgo))
	}
	if f.IgnoreSemantics != "compat" && f.IgnoreSemantics != "git" {
		errs = append(errs, fmt.Errorf("--ignore-semantics %q is neither compat nor git", f.IgnoreSemantics))
	}
	if f.RetentionRecords < 1 {
		errs = append(errs, fmt.Errorf("--artifact-retention-records %d is below 1", f.RetentionRecords))
	}
	if f.StorageVerifyEvery < 1 {
		errs = append(errs, fmt.Errorf("--storage-verify-every %d is below 1", f.StorageVerifyEvery))
	}
	f.Limits = map[string]int64{}
	for _, l := range f.limits {
		name, text, _ := strings.Cut(l, "=")
		n, err := strconv.ParseInt(text, 10, 64)
		switch {
		case !slices.Contains(limitNames, name):
			errs = append(errs, fmt.Errorf("--limit %q: unknown limit", name))
		case err != nil || n == 0:
			errs = append(errs, fmt.Errorf("--limit %q: %q is not a number other than 0", name, text))
		default:
			f.Limits[name] = n
		}
	}
	return errors.Join(errs...)
}

func (f *Flags) validateBackend() []error {
	var errs []error
	switch f.StorageBackend {
	case "dir":
		if f.StorageOCIURL != "" || f.StorageOCISecret != "" || f.StorageOCICA != "" || f.StorageOCIInsecure {
			errs = append(errs, errors.New("--storage-oci-* needs --storage-backend=oci"))
		}
	case backendOCI:
		if _, _, err := blobregistry.ParseURL(f.StorageOCIURL); err != nil {
			errs = append(errs, fmt.Errorf("--storage-oci-url: %w", err))
		}
	default:
		errs = append(errs, fmt.Errorf("--storage-backend %q is neither dir nor oci", f.StorageBackend))
	}
	return errs
}

// BaseURL returns the prefix of artifact URLs: StorageAdvAddr, or what
// StorageAddr listens on with the host name in place of a wildcard.
func (f *Flags) BaseURL() string {
	if f.StorageAdvAddr != "" {
		return f.StorageAdvAddr
	}
	host, port, err := net.SplitHostPort(f.StorageAddr)
	if err != nil {
		return f.StorageAddr
	}
	switch host {
	case "":
		host = "localhost"
	case "0.0.0.0", "::":
		if host = os.Getenv("HOSTNAME"); host == "" {
			host = "localhost"
		}
	}
	return net.JoinHostPort(host, port)
}

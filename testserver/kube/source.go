// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Version is the version of the control plane module that goes with this
// package.
const Version = "v0.1.0"

const (
	modulePath = "github.com/gitops-kit/sdk/testserver/controlplane"
	// buildFlags are part of the key: other flags, other program.
	buildTrim = "-trimpath"
	buildLD   = "-ldflags=-s -w"
)

// source is where the program's code is, and the key of its build.
type source struct {
	dir      string // "" when the module has to be downloaded
	key      string
	checkout bool
}

// findSource looks for a checkout around dir and around this file, then in the
// module cache.
func findSource(ctx context.Context, dir string) (*source, error) {
	for _, d := range checkouts(dir) {
		if isModule(d) {
			sum, err := hashTree(d)
			if err != nil {
				return nil, err
			}
			return &source{dir: d, key: key("checkout " + sum), checkout: true}, nil
		}
	}
	sum := cachedSum()
	if sum == "" {
		m, err := download(ctx)
		if err != nil {
			return nil, err
		}
		return &source{dir: m.Dir, key: key(Version + " " + m.Sum)}, nil
	}
	return &source{key: key(Version + " " + sum)}, nil
}

// checkouts lists directories that would hold the module in a checkout.
func checkouts(dir string) []string {
	var dirs []string
	if dir == "" {
		dir, _ = os.Getwd()
	}
	for dir != "" {
		dirs = append(dirs, filepath.Join(dir, "testserver", programName))
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		dirs = append(dirs, filepath.Join(filepath.Dir(filepath.Dir(file)), programName))
	}
	return dirs
}

func isModule(dir string) bool {
	b, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return false
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return strings.TrimSpace(line) == "module "+modulePath
}

// hashTree is a digest over what goes into the program: names and content of
// the module's files, without tests and texts.
func hashTree(dir string) (string, error) {
	root := os.DirFS(dir)
	var names []string
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		base := d.Name()
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (base == "testdata" || strings.HasPrefix(base, ".")):
			return fs.SkipDir
		case !d.Type().IsRegular() || strings.HasSuffix(base, "_test.go"):
			return nil
		case strings.HasSuffix(base, ".go") || base == "go.mod" || base == "go.sum":
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	slices.Sort(names)
	all := sha256.New()
	for _, name := range names {
		b, err := fs.ReadFile(root, name)
		if err != nil {
			return "", err
		}
		_, _ = fmt.Fprintf(all, "%x  %s\n", sha256.Sum256(b), name)
	}
	return hex.EncodeToString(all.Sum(nil)), nil
}

// key names a build: the code, the Go version, the platform and the flags.
func key(code string) string {
	text := strings.Join([]string{"1", code, runtime.Version(), runtime.GOOS, runtime.GOARCH, buildTrim, buildLD, "CGO_ENABLED=0"}, "\n")
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}

// cachedSum reads the module's checksum from the module cache, without running
// the go command. "" means that it is not there.
func cachedSum() string {
	dir := os.Getenv("GOMODCACHE")
	if dir == "" {
		path := filepath.SplitList(os.Getenv("GOPATH"))
		if len(path) == 0 {
			home, err := os.UserHomeDir()
			if err != nil {
				return ""
			}
			path = []string{filepath.Join(home, "go")}
		}
		dir = filepath.Join(path[0], "pkg", "mod")
	}
	file := filepath.Join(dir, "cache", "download", filepath.FromSlash(modulePath), "@v", Version+".ziphash")
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// module is what "go mod download -json" prints.
type module struct {
	Dir, Sum, Error string
}

const downloadCommand = "go mod download " + modulePath + "@" + Version

// download brings the module into the module cache, under the user's proxy
// and checksum settings.
func download(ctx context.Context) (*module, error) {
	if os.Getenv("GITOPS_KIT_CONTROLPLANE_BUILD") == "0" {
		return nil, &UnavailableError{Why: "it is not built, and building is off", Command: "unset GITOPS_KIT_CONTROLPLANE_BUILD"}
	}
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", modulePath+"@"+Version)
	cmd.Dir = os.TempDir() // outside of any module, whose go.mod is none of our business
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	var m module
	if jsonErr := json.Unmarshal(out.Bytes(), &m); jsonErr == nil && m.Error != "" {
		return nil, &UnavailableError{Why: "its module cannot be downloaded", Command: downloadCommand, Err: errors.New(m.Error)}
	}
	if errors.Is(err, exec.ErrNotFound) {
		return nil, &UnavailableError{Why: "there is no go command to build it", Err: err}
	}
	if err != nil {
		return nil, &UnavailableError{Why: "its module cannot be downloaded", Command: downloadCommand, Err: errors.Join(errors.New(firstLine(stderr.String())), err)}
	}
	return &m, nil
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package helmserver

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/gitops-kit/sdk/testserver/ociserver"
)

// Media types of charts in OCI registries.
const (
	MediaTypeConfig     = "application/vnd.cncf.helm.config.v1+json"
	MediaTypeContent    = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
	MediaTypeProvenance = "application/vnd.cncf.helm.chart.provenance.v1.prov"
)

// ErrChart reports files that are no chart.
var ErrChart = errors.New("not a chart")

// Files maps slash-separated paths inside the chart to contents.
type Files map[string]string

// Chart is a packed chart.
type Chart struct {
	// Name and Version are those of Chart.yaml.
	Name, Version string
	// URL is where the repository serves it; "" if it was only packed.
	URL string
	// Digest is the bare hexadecimal SHA-256 of Archive, as an index has it.
	Digest string
	// Archive is the .tgz.
	Archive []byte

	yaml string
	meta map[string]any
}

// File returns the archive's file name.
func (c *Chart) File() string { return c.Name + "-" + c.Version + ".tgz" }

// Package packs files into a chart. A version that is not empty replaces the
// one in Chart.yaml. The same files give the same bytes.
func Package(files Files, version string) (*Chart, error) {
	meta := map[string]any{}
	if err := yaml.Unmarshal([]byte(files["Chart.yaml"]), &meta); err != nil {
		return nil, fmt.Errorf("read Chart.yaml: %w", err)
	}
	c := &Chart{meta: meta, yaml: files["Chart.yaml"]}
	if version != "" {
		meta["version"] = version
		out, err := yaml.Marshal(meta)
		if err != nil {
			return nil, fmt.Errorf("write Chart.yaml: %w", err)
		}
		c.yaml = string(out)
	}
	c.Name, _ = meta["name"].(string)
	c.Version, _ = meta["version"].(string)
	if c.Name == "" || c.Version == "" {
		return nil, fmt.Errorf("no name or version in Chart.yaml: %w", ErrChart)
	}
	files = maps.Clone(files)
	files["Chart.yaml"] = c.yaml
	names := slices.Sorted(maps.Keys(files))
	slices.SortStableFunc(names, func(a, b string) int { // as the established tool: Chart.yaml first
		return boolInt(b == "Chart.yaml") - boolInt(a == "Chart.yaml")
	})
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, n := range names {
		h := &tar.Header{Name: c.Name + "/" + n, Mode: 0o644, Size: int64(len(files[n])), ModTime: time.Unix(0, 0)}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("pack %q: %w", n, err)
		}
		if _, err := w.Write([]byte(files[n])); err != nil {
			return nil, fmt.Errorf("pack %q: %w", n, err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		return nil, fmt.Errorf("pack chart: %w", err)
	}
	c.Archive = b.Bytes()
	sum := sha256.Sum256(c.Archive)
	c.Digest = hex.EncodeToString(sum[:])
	return c, nil
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// ReadDir reads the files of a chart directory.
func ReadDir(dir string) (Files, error) {
	files := Files{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(p)
		files[filepath.ToSlash(rel)] = string(b)
		return err
	})
	return files, err
}

// Simple returns the files of a chart with one ConfigMap.
func Simple(name, version string) Files {
	return Files{
		"Chart.yaml":               fmt.Sprintf("apiVersion: v2\nname: %s\nversion: %s\ndescription: A test chart\n", name, version),
		"values.yaml":              "greeting: hello\n",
		"templates/configmap.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\ndata:\n  greeting: {{ .Values.greeting | quote }}\n",
		"templates/NOTES.txt":      "{{ .Chart.Name }} {{ .Chart.Version }}\n",
	}
}

// Artifact returns the chart as an OCI artifact; push it under its version, with
// "_" for "+".
func (c *Chart) Artifact() ociserver.Artifact {
	config, _ := json.Marshal(c.meta) // read from YAML with string keys
	return ociserver.Artifact{
		ConfigMediaType: MediaTypeConfig, Config: config,
		Layers:      []ociserver.Layer{{MediaType: MediaTypeContent, Content: c.Archive}},
		Annotations: map[string]string{"org.opencontainers.image.title": c.Name, "org.opencontainers.image.version": c.Version},
	}
}

// Provenance returns the text that a provenance file signs.
func (c *Chart) Provenance() []byte {
	return fmt.Appendf(nil, "%s\n...\nfiles:\n  %s: sha256:%s\n", c.yaml, c.File(), c.Digest)
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package shop embeds the application that the demo deploys: four services,
// a component and an overlay for each environment.
package shop

import (
	"embed"
	"io/fs"
)

//go:embed base components overlays
var files embed.FS

// Files returns every file of the application by its slash-separated path. The
// map is the caller's own.
func Files() (map[string]string, error) {
	out := map[string]string{}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := files.ReadFile(name)
		out[name] = string(data)
		return err
	})
	return out, err
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ignore

// VCS returns the patterns of version control's own files, which are left
// out of every artifact. Each call returns a new slice.
func VCS() []Pattern {
	return builtin(".git/", ".gitignore", ".gitmodules", ".gitattributes")
}

// Defaults returns the patterns that apply where a tree brings no patterns of
// its own: pictures, archives and CI configuration. Each call returns a new
// slice.
func Defaults() []Pattern {
	return builtin(
		"*.jpg", "*.jpeg", "*.gif", "*.png", "*.wmv", "*.flv", "*.tar.gz", "*.zip",
		".github/", ".circleci/", ".travis.yml", ".gitlab-ci.yml", "appveyor.yml", ".drone.yml",
		"cloudbuild.yaml", "codeship-services.yml", "codeship-steps.yml",
		"**/.goreleaser.yml", "**/.sops.yaml", "**/.flux.yaml",
	)
}

func builtin(lines ...string) []Pattern {
	out := make([]Pattern, len(lines))
	for i, l := range lines {
		out[i] = Pattern{Line: i + 1, Text: l}
	}
	return out
}

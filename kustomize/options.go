// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"context"
	"io/fs"
	"time"
)

// BuilderOptions configure a [Builder].
type BuilderOptions struct {
	// Parallel bounds the builds that run at once; waiting for a turn honours
	// the context. Zero: GOMAXPROCS.
	Parallel int
	// SchemaWait bounds how long a build with its own schema waits for the
	// running builds, and how long others wait behind it. Zero: 10 s.
	SchemaWait time.Duration
	// SchemaRunner runs builds that bring a schema somewhere else, for instance
	// in a child process. Nil: in this process, alone.
	SchemaRunner SchemaRunner
}

// SchemaRunner builds a tree that brings its own schema outside this process.
type SchemaRunner interface {
	// Run builds t and returns the objects as one YAML stream in build order.
	// Its error is transient unless it says otherwise (Terminal() bool).
	Run(ctx context.Context, t SchemaTree) ([]byte, error)
}

// SchemaTree is what a [SchemaRunner] gets: every file of the build, rewritten
// so that no entry is remote, below Dir.
type SchemaTree struct {
	Files  map[string][]byte // slash path without a leading slash
	Dir    string            // the root kustomization's directory in Files
	Schema SchemaMode
	Limits Limits // in force, none zero
}

// Options describe one build. The zero value of every field but Root is safe.
type Options struct {
	// Root is the tree, required: the FS method of an [os.Root], or a tree in
	// memory. Nothing outside it exists. It must not change while a build runs.
	Root fs.FS
	// Dir is the slash path of the directory to build. Zero: ".".
	Dir string
	// Spec overrides fields of the root kustomization.
	Spec Spec
	// Ignore filters what is scanned. Zero: nothing is filtered.
	Ignore Ignore
	// Remote fetches remote entries. Nil: a remote entry is [ErrRemote], before
	// any name is resolved.
	Remote RemoteFunc
	// Schema says what a kustomization's own schema does to the built-in one.
	Schema SchemaMode
	// Hooks see files before and objects after the build.
	Hooks Hooks
	// Substitute replaces variables after the build. Nil: nothing is replaced.
	Substitute *Substitution
	// Engine selects the engine. Zero: [Auto].
	Engine Engine
	// Strict makes unknown and duplicate keys of the root kustomization errors.
	// Zero: they are dropped with a [Warning].
	Strict bool
	// Limits bound the build. The zero value is the table of [Limits].
	Limits Limits
}

// Engine says which implementation builds.
type Engine int

// Engines.
const (
	// Auto is Indexed where the tree stays inside what it covers, else Krusty.
	Auto Engine = iota
	// Krusty is kustomize: complete, and the reference.
	Krusty
	// Indexed is linear in the number of objects; a tree that it does not cover
	// is an error.
	Indexed
)

// String returns the name.
func (e Engine) String() string {
	switch e {
	case Krusty:
		return "krusty"
	case Indexed:
		return "indexed"
	default:
		return "auto"
	}
}

// SchemaMode says what a schema in a kustomization does.
type SchemaMode int

// Schema modes.
const (
	// SchemaAdd adds the definitions to the built-in ones; they win by name.
	SchemaAdd SchemaMode = iota
	// SchemaReplace drops the built-in ones for this build, as the kustomize
	// program does.
	SchemaReplace
)

// Spec holds the overrides that are merged into the root kustomization.
type Spec struct {
	// TargetNamespace replaces the field namespace.
	TargetNamespace string
	// NamePrefix replaces the field namePrefix.
	NamePrefix string
	// NameSuffix replaces the field nameSuffix.
	NameSuffix string
	// Patches are appended to the field patches.
	Patches []Patch
	// PatchesStrategicMerge are appended to the field of that name: paths or
	// inline documents.
	PatchesStrategicMerge []string
	// PatchesJSON6902 are appended to the field patchesJson6902.
	PatchesJSON6902 []JSON6902Patch
	// Components are appended to the field components; each must be a local,
	// relative path.
	Components []string
	// IgnoreMissingComponents drops entries of Components that do not exist.
	IgnoreMissingComponents bool
	// Images are merged into the field images by name.
	Images []Image
	// CommonMetadata is set on every object after the build; it wins over what
	// the files say.
	CommonMetadata CommonMetadata
	// BuildMetadata replaces the field buildMetadata if it is not empty.
	BuildMetadata []string
}

// CommonMetadata are labels and annotations for every object.
type CommonMetadata struct {
	Labels      map[string]string
	Annotations map[string]string
}

// Image changes name, tag or digest of the images called Name.
type Image struct {
	Name    string
	NewName string
	NewTag  string
	Digest  string // beats NewTag
}

// Patch is an inline strategic-merge document or JSON6902 list.
type Patch struct {
	Patch  string
	Target *Selector // nil: the object the document names
}

// JSON6902Patch is a list of JSON6902 operations for one target.
type JSON6902Patch struct {
	Target Selector
	Patch  string
}

// Selector selects objects. Group to Namespace are anchored regular
// expressions; all fields are ANDed, empty ones match everything.
type Selector struct {
	Group, Version, Kind, Name, Namespace string
	LabelSelector, AnnotationSelector     string
}

// Ignore filters files and local entries with gitignore patterns.
type Ignore struct {
	// Files reads .sourceignore in every directory.
	Files bool
	// Patterns are further patterns, one a line, relative to the root.
	Patterns string
}

// RemoteFunc fetches a remote entry: the tree, and the slash path of the
// directory or file in it. It is called once per distinct entry and build, with
// the build's context.
type RemoteFunc func(ctx context.Context, r Remote) (fs.FS, string, error)

// RemoteKind says what a remote entry is.
type RemoteKind string

// Remote kinds.
const (
	RemoteGit  RemoteKind = "git"
	RemoteFile RemoteKind = "file"
)

// Remote is a parsed remote entry.
type Remote struct {
	Kind       RemoteKind
	URL        string        // of the repository or the file; may hold credentials
	Ref        string        // branch, tag or commit; "" is the default branch
	Path       string        // directory in the repository
	Submodules bool          // whether the entry asks for them; kustomize's default is true
	Timeout    time.Duration // asked for by the entry; kustomize's default is 27 s
}

// FileKind says what a file is used for.
type FileKind string

// File kinds a [Hooks.File] function sees.
const (
	FileResource   FileKind = "Resource"
	FilePatch      FileKind = "Patch"
	FileSecretFile FileKind = "SecretFile"
	FileSecretEnv  FileKind = "SecretEnv"
	FileConfigFile FileKind = "ConfigFile"
	FileConfigEnv  FileKind = "ConfigEnv"
)

// HookFile is a file as a hook sees it.
type HookFile struct {
	Path string   // slash path in the tree
	Kind FileKind // its first use in the build
	Key  string   // for FileSecretFile and FileConfigFile: the key it becomes
	Data []byte   // as read; must not be changed
}

// Hooks are called at the decryption boundary. They may be called from several
// goroutines, at most [BuilderOptions.Parallel] at once. Their errors are
// transient unless they say otherwise (Terminal() bool).
type Hooks struct {
	// File gets every resource file that contains the word sops, and every
	// patch and generator file, once, before an engine sees the bytes, and
	// returns what the engine reads.
	File func(ctx context.Context, f HookFile) ([]byte, error)
	// Object gets every object after the build and before substitution. False
	// means unchanged.
	Object func(ctx context.Context, o Object) (Object, bool, error)
}

// Substitution configures the replacement of variables.
type Substitution struct {
	// Vars are the variables; the caller has settled their precedence.
	Vars map[string]Var
	// Mode is Compatible or Typed.
	Mode Mode
	// Always substitutes even without variables.
	Always bool
	// Lenient replaces unset variables by nothing. Zero: an unset variable
	// without a default is an error.
	Lenient bool
	// FailUndeclared makes every ${name} without a variable an error. Typed
	// mode only.
	FailUndeclared bool
	// Explain is called for every replacement, never with a value.
	Explain func(Replacement)
}

// Var is the value of a variable.
type Var struct {
	Value  string
	Secret bool // comes from a Secret
}

// Mode says how variables are replaced.
type Mode int

// Modes.
const (
	// Compatible replaces in the YAML text of an object, with the operators of
	// a shell, as existing clients do.
	Compatible Mode = iota
	// Typed replaces in scalar values only: types and shell text survive.
	Typed
)

// Replacement tells what was replaced where.
type Replacement struct {
	File string
	Line int
	Path string // JSON path in the object
	Name string
}

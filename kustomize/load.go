// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/types"

	"github.com/gitops-kit/sdk/kustomize/internal/limits"
)

// loader reads everything a build needs before an engine runs, so that engines
// touch memory only.
type loader struct {
	*store
	opts     *Options
	parallel int
	warnings []Warning
	remotes  map[string]mounted
	kusts    map[string]*kust   // by virtual directory
	sources  map[string]*source // by virtual path
	order    []*source          // in the order of first use
	schemas  []*kust            // that bring a schema, in order
	patches  int64
	comps    int64
	ignored  func(rel string, dir bool) bool
	root     *kust
}

// kust is a loaded kustomization.
type kust struct {
	*kustFile
	tree   *tree
	dir    string // in the tree, without links
	served []byte
	parsed *types.Kustomization
	sort   *types.SortOptions // of the root, applied here
	items  []item             // resources in order
	own    int                // entries of resources; those of bases follow
	parts  []*kust
	plugin bool // reached through generators, transformers or validators
	schema bool
	height int64
	direct bool // only fields that Indexed covers
	asBase bool // an entry of resources
	asPart bool // an entry of components
}

// item is an entry of resources.
type item struct {
	file *source
	base *kust
}

// source is a file of the build.
type source struct {
	tree *tree
	rel  string
	kind FileKind // "" if hooks do not see it
	key  string
	yaml bool   // docs are wanted
	raw  []byte // as read
	data []byte // as the engine reads it
	docs []document
	err  error
}

func (s *source) name() string { return s.tree.name(s.rel) }

func newLoader(s *store, o *Options, parallel int) *loader {
	return &loader{
		store: s, opts: o, parallel: parallel, remotes: map[string]mounted{},
		kusts: map[string]*kust{}, sources: map[string]*source{},
	}
}

func (l *loader) warn(code WarningCode, file string, line int, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.warnings = append(l.warnings, Warning{Code: code, File: file, Line: line, Text: fmt.Sprintf(format, args...)})
}

// load reads the root kustomization and all it refers to.
func (l *loader) load() error {
	dir := path.Clean(l.opts.Dir)
	t := l.trees[0]
	if path.IsAbs(l.opts.Dir) || dir == ".." || strings.HasPrefix(dir, "../") {
		return &BuildError{Err: fmt.Errorf("%w: %q", ErrPathEscape, l.opts.Dir)}
	}
	st := l.stat(t, dir)
	switch {
	case st.err != nil:
		return &BuildError{File: dir, Err: st.err}
	case !st.mode.IsDir():
		return &BuildError{File: dir, Err: invalidf("is not a directory")}
	}
	if err := l.prepareIgnore(); err != nil {
		return err
	}
	f, err := l.findKust(t, st.real)
	if err != nil {
		return err
	}
	k := &kust{tree: t, dir: st.real}
	if k.kustFile, err = l.rootFile(t, st.real, f); err != nil {
		return err
	}
	if err := l.mergeSpec(k.kustFile); err != nil {
		return err
	}
	l.root = k
	l.kusts[t.virtual(st.real)] = k
	if k.empty() {
		return nil
	}
	if err := l.finish(k, []*kust{k}); err != nil {
		return err
	}
	return l.readSources()
}

// findKust returns the path of the one kustomization file of a directory, "" if
// there is none.
func (l *loader) findKust(t *tree, dir string) (string, error) {
	var found []string
	for _, name := range kustNames() {
		rel := path.Join(dir, name)
		st := l.stat(t, rel)
		if errors.Is(st.err, ErrNoSuchFile) {
			continue
		}
		if st.err == nil && st.mode.IsDir() {
			continue
		}
		if st.err != nil {
			return "", &BuildError{File: t.name(rel), Err: st.err}
		}
		found = append(found, rel)
	}
	if len(found) > 1 {
		return "", &BuildError{File: t.name(dir), Err: invalidf("found multiple kustomization files: %s", strings.Join(found, ", "))}
	}
	if len(found) == 0 {
		return "", nil
	}
	return found[0], nil
}

// rootFile decodes the root kustomization, or generates one.
func (l *loader) rootFile(t *tree, dir, file string) (*kustFile, error) {
	if file == "" {
		return l.generate(t, dir)
	}
	data, err := l.read(t, file)
	if err != nil {
		return nil, &BuildError{File: t.name(file), Err: err}
	}
	var strict error
	k, err := l.decodeKust(t.name(file), file, data, func(key string, n *yaml.Node) {
		line := 0
		if n != nil {
			line = n.Line
		}
		code, text := WarningUnknownKey, "unknown field"
		if name, dup := strings.CutPrefix(key, "\x00"); dup {
			code, text, key = WarningDuplicateKey, "duplicate key", name
		}
		if l.opts.Strict && strict == nil {
			strict = &BuildError{File: t.name(file), Line: line, Field: key, Err: invalidf("invalid Kustomization: %s %q", text, key)}
		}
		l.warn(code, t.name(file), line, "%s %q", text, key)
	})
	if err != nil {
		return nil, err
	}
	return k, strict
}

// kustomization loads the kustomization of a directory once.
func (l *loader) kustomization(t *tree, dir string, plugin bool, chain []*kust) (*kust, error) {
	for _, up := range chain {
		if up.tree == t && (up.dir == dir || dir == "." || strings.HasPrefix(up.dir, dir+"/")) {
			return nil, invalidf("cycle detected: candidate root %q contains visited root %q", dir, up.dir)
		}
	}
	if err := limits.Check("base-depth", l.lim.BaseDepth, int64(len(chain))); err != nil {
		return nil, err
	}
	key := t.virtual(dir)
	if k := l.kusts[key]; k != nil {
		if plugin && !k.plugin {
			k.plugin = true
			if err := l.checkPlugin(k); err != nil {
				return nil, err
			}
		}
		return k, limits.Check("base-depth", l.lim.BaseDepth, int64(len(chain))+k.height)
	}
	file, err := l.findKust(t, dir)
	if err != nil {
		return nil, err
	}
	if file == "" {
		return nil, invalidf("unable to find one of %s in directory %q", strings.Join(quoted(kustNames()), ", "), t.name(dir))
	}
	data, err := l.read(t, file)
	if err != nil {
		return nil, &BuildError{File: t.name(file), Err: err}
	}
	k := &kust{tree: t, dir: dir, plugin: plugin}
	if k.kustFile, err = l.decodeKust(t.name(file), file, data, nil); err != nil {
		return nil, err
	}
	l.kusts[key] = k
	return k, l.finish(k, append(slices.Clip(chain), k))
}

// finish rewrites the entries of a decoded kustomization, loads what they refer
// to and encodes the result for the engine.
func (l *loader) finish(k *kust, chain []*kust) error {
	if err := l.checkForbidden(k); err != nil {
		return err
	}
	l.deprecated(k)
	if err := l.openapi(k); err != nil {
		return err
	}
	if err := l.entries(k, chain); err != nil {
		return err
	}
	served, err := k.encode()
	if err != nil {
		return &BuildError{File: k.name, Err: invalidf("invalid Kustomization: %v", err)}
	}
	if k.parsed, err = k.typed(served); err != nil {
		return err
	}
	k.served = served
	if o := k.parsed.SortOptions; o != nil && len(chain) == 1 {
		if _, err := sortSet(nil, o); err == nil {
			k.sort = o
			unsorted := *k.kustFile
			unsorted.fields = maps.Clone(k.fields)
			delete(unsorted.fields, "sortOptions")
			if k.served, err = unsorted.encode(); err != nil {
				return &BuildError{File: k.name, Err: invalidf("invalid Kustomization: %v", err)}
			}
		}
	}
	k.direct = covered(k)
	for _, it := range k.items {
		if it.base != nil {
			k.height = max(k.height, it.base.height+1)
		}
	}
	for _, p := range k.parts {
		k.height = max(k.height, p.height+1)
	}
	return nil
}

// checkForbidden refuses what would run or fetch something.
func (l *loader) checkForbidden(k *kust) error {
	for _, f := range []string{"helmCharts", "helmGlobals", "helmChartInflationGenerator"} {
		if k.has(f) {
			return k.fail(fmt.Errorf("%w: Helm charts are not rendered", ErrForbidden), f)
		}
	}
	if k.plugin {
		return l.checkPlugin(k)
	}
	return nil
}

// pluginFields are what a kustomization may hold that brings transformer
// configurations: nothing that could change a path in them.
var pluginFields = []string{ //nolint:gochecknoglobals // constant
	"apiVersion", "kind", "metadata", "openapi", "resources", "bases", "namespace", "namePrefix", "nameSuffix",
	"commonLabels", "commonAnnotations", "buildMetadata", "sortOptions",
}

func (l *loader) checkPlugin(k *kust) error {
	for f := range k.fields {
		if k.has(f) && !slices.Contains(pluginFields, f) {
			return k.fail(fmt.Errorf("%w: in a directory of generators, transformers or validators", ErrForbidden), f)
		}
	}
	for _, it := range k.items {
		if it.base != nil && !it.base.plugin {
			it.base.plugin = true
			if err := l.checkPlugin(it.base); err != nil {
				return err
			}
		}
	}
	return nil
}

// deprecated warns, and moves the fields for which the new one means the same.
func (l *loader) deprecated(k *kust) {
	for old, now := range map[string]string{
		"bases": "resources", "imageTags": "images", "patchesJson6902": "patches",
		"patchesStrategicMerge": "patches", "vars": "replacements", "commonLabels": "labels",
	} {
		if _, ok := k.fields[old]; ok && k.line(old) > 0 {
			l.warn(WarningDeprecated, k.name, k.line(old), "field %q is deprecated, use %q", old, now)
		}
	}
	slices.SortStableFunc(l.warnings, func(a, b Warning) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		return a.Line - b.Line
	})
	if list, ok := k.fields["imageTags"].([]any); ok {
		k.fields["images"] = append(k.list("images"), list...)
	}
	delete(k.fields, "imageTags")
}

// openapi decides whether the kustomization brings a schema.
func (l *loader) openapi(k *kust) error {
	m, ok := k.fields["openapi"].(map[string]any)
	if !ok {
		return nil // absent, or the engine's decoder refuses it
	}
	version, hasVersion := m["version"].(string)
	file, hasPath := m["path"].(string)
	for key := range m {
		if key != "version" && key != "path" {
			delete(m, key)
		}
	}
	switch {
	case hasVersion && hasPath:
		return k.fail(invalidf("openapi has both a version and a path"), "openapi")
	case hasVersion && version != "" && version != builtinVersion:
		return k.fail(fmt.Errorf("%w: %q; built in is %q", ErrOpenAPIVersion, version, builtinVersion), "openapi", "version")
	case hasVersion:
		delete(k.fields, "openapi")
		return nil
	case !hasPath:
		if len(m) == 0 {
			delete(k.fields, "openapi")
		}
		return nil
	}
	src, now, err := l.fileEntry(k, file, "", "")
	if err != nil {
		return k.fail(err, "openapi", "path")
	}
	if err := limits.Check("build-schema", l.lim.Schema, int64(len(src.raw))); err != nil {
		return k.fail(err, "openapi", "path")
	}
	if err := l.checkSchema(src); err != nil {
		return k.fail(err, "openapi", "path")
	}
	m["path"] = now
	k.schema = true
	l.schemas = append(l.schemas, k)
	if len(l.schemas) > 1 {
		l.warn(WarningSecondSchema, k.name, k.line("openapi"), "the schema of %q is used, this one is not", l.schemas[0].name)
	}
	return nil
}

func (l *loader) checkSchema(src *source) error {
	if err := checkText(src.raw); err != nil {
		return err
	}
	node, err := parseNode(string(src.raw))
	if err != nil || node == nil {
		return invalidf("openapi schema cannot be parsed")
	}
	check := yamlCheck{lim: l.lim}
	check.lim.DocExpanded = max(check.lim.DocExpanded, 4*l.lim.Schema)
	return check.run(node)
}

// join resolves an entry against the directory of a kustomization. escape is
// set if the result is outside the tree.
func join(dir, entry string) (rel string, escape bool) {
	rel = path.Join(dir, entry)
	return rel, rel == ".." || strings.HasPrefix(rel, "../")
}

// relative is how the engine is told about a path: never like a URL.
func relative(dir, target string) string {
	from, to := splitPath(dir), splitPath(target)
	for len(from) > 0 && len(to) > 0 && from[0] == to[0] {
		from, to = from[1:], to[1:]
	}
	if len(from) == 0 {
		return "./" + strings.Join(to, "/")
	}
	return strings.Repeat("../", len(from)) + strings.Join(to, "/")
}

func splitPath(p string) []string {
	if p = strings.Trim(p, "/"); p == "" || p == "." {
		return nil
	}
	return strings.Split(p, "/")
}

func quoted(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = "'" + n + "'"
	}
	return out
}

func isYAMLFile(name string) bool {
	ext := path.Ext(name)
	return ext == ".yaml" || ext == ".yml"
}

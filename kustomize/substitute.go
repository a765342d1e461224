// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/gitops-kit/sdk/kustomize/envsubst"
	"github.com/gitops-kit/sdk/kustomize/internal/limits"
)

// disableKey is the label or annotation that keeps an object as it is, with the
// value "disabled".
const disableKey = "kustomize.toolkit.fluxcd.io/substitute"

// varName is what a variable may be called.
const varName = `^[_[:alpha:]][_[:alpha:][:digit:]]*$`

var varNameRE = regexp.MustCompile(varName)

// checkSubstitution checks names and sizes before any work.
func checkSubstitution(s *Substitution, lim Limits) error {
	if s == nil {
		return nil
	}
	if s.Mode != Compatible && s.Mode != Typed {
		return fmt.Errorf("%w: unknown substitution mode %d", ErrOptions, s.Mode)
	}
	if err := limits.Check("substitution-vars", lim.Vars, int64(len(s.Vars))); err != nil {
		return err
	}
	for name, v := range s.Vars {
		if !varNameRE.MatchString(name) {
			return &VariableError{Name: name, Why: fmt.Sprintf("'%s' var name is invalid, must match '%s'", name, varName)}
		}
		if err := limits.Check("substitution-value", lim.Value, int64(len(v.Value))); err != nil {
			return err
		}
	}
	return nil
}

// substitute replaces variables in every object.
func (l *loader) substitute(res *Result, made []Object, objects []built) error {
	s := l.opts.Substitute
	if s == nil || len(s.Vars) == 0 && !s.Always {
		return nil
	}
	if s.Mode == Typed {
		return l.substituteTyped(s, res, made, objects)
	}
	vars := make(map[string]string, len(s.Vars))
	for name, v := range s.Vars {
		vars[name] = strings.ReplaceAll(v.Value, "\n", "")
	}
	var used int64
	for i := range made {
		if err := l.ctx.Err(); err != nil {
			return err
		}
		if disabled(made[i].Unstructured) || !mentions(made[i].Object) {
			continue
		}
		o := &made[i]
		opts := envsubst.Options{
			Vars: vars, Lenient: s.Lenient, Used: &used,
			Limits: envsubst.Limits{Object: l.lim.Object, Total: l.lim.Substituted},
		}
		if s.Explain != nil {
			opts.Explain = func(name string, _ int) {
				s.Explain(Replacement{File: o.Origin.File, Line: l.lineOf(o.Origin, name), Name: name})
			}
		}
		if object, ok := expandInPlace(o.Object, opts); ok {
			o.Unstructured = &unstructured.Unstructured{Object: object}
			res.Stats.Replaced++
			if err := limits.Check("substitution-total", l.lim.Substituted, used); err != nil {
				return l.variableError(o, err)
			}
			continue
		}
		now, err := expandObject(o.Unstructured, opts)
		if err != nil {
			return l.variableError(o, err)
		}
		o.Unstructured = now
		res.Stats.Replaced++
	}
	return nil
}

// expandObject replaces in the YAML text of an object and reads it again.
func expandObject(u *unstructured.Unstructured, o envsubst.Options) (*unstructured.Unstructured, error) {
	text, err := sigsyaml.Marshal(u.Object)
	if err != nil {
		return nil, invalidf("object cannot be written as YAML")
	}
	out, err := envsubst.Expand(string(text), o)
	if err != nil {
		return nil, err
	}
	raw, err := sigsyaml.YAMLToJSON([]byte(out))
	if err != nil {
		// The parser's text may quote a value.
		return nil, &envsubst.Error{Why: "the object is not valid YAML after substitution", Err: envsubst.ErrSyntax}
	}
	now := &unstructured.Unstructured{}
	if err := utiljson.Unmarshal(raw, &now.Object); err != nil || now.Object == nil {
		return nil, &envsubst.Error{Why: "the object is not an object after substitution", Err: envsubst.ErrSyntax}
	}
	return now, nil
}

// variableError gives an error of a substitution its object and place.
func (l *loader) variableError(o *Object, err error) error {
	var ee *envsubst.Error
	if !errors.As(err, &ee) {
		return &BuildError{File: o.Origin.File, Doc: o.Origin.Doc, Line: o.Origin.Line, Err: err}
	}
	return &VariableError{
		Name: ee.Name, Object: describe(o.Unstructured), File: o.Origin.File, Line: l.lineOf(o.Origin, ee.Name), Why: ee.Why,
	}
}

// describe is "Kind.version.group/name".
func describe(u *unstructured.Unstructured) string {
	gvk := u.GroupVersionKind()
	s := gvk.Kind + "." + gvk.Version
	if gvk.Group != "" {
		s += "." + gvk.Group
	}
	return s + "/" + u.GetName()
}

// lineOf finds the first line of an object's document that mentions a variable.
func (l *loader) lineOf(o Origin, name string) int {
	if name == "" || o.Remote != "" {
		return o.Line
	}
	src := l.sources[rootMount+"/"+o.File]
	if src == nil || o.Line <= 0 {
		return o.Line
	}
	line := 0
	for text := range strings.Lines(string(src.raw)) {
		line++
		if line > o.Line && strings.HasPrefix(text, "---") {
			break
		}
		if line < o.Line {
			continue
		}
		for _, lead := range []string{"${" + name, "${#" + name} {
			if i := strings.Index(text, lead); i >= 0 && !nameByte(text[i+len(lead):]) {
				return line
			}
		}
	}
	return o.Line
}

func nameByte(rest string) bool {
	return rest != "" && (rest[0] == '_' || rest[0] >= '0' && rest[0] <= '9' || rest[0] >= 'a' && rest[0] <= 'z' || rest[0] >= 'A' && rest[0] <= 'Z')
}

func disabled(u *unstructured.Unstructured) bool {
	return u.GetLabels()[disableKey] == "disabled" || u.GetAnnotations()[disableKey] == "disabled"
}

// mentions reports whether a string or key below v contains ${ or $$. Only such
// objects change in a round trip through YAML.
func mentions(v any) bool {
	switch v := v.(type) {
	case string:
		return dollar(v)
	case []any:
		return slices.ContainsFunc(v, mentions)
	case map[string]any:
		for k, e := range v {
			if dollar(k) || mentions(e) {
				return true
			}
		}
	}
	return false
}

func dollar(s string) bool {
	i := strings.IndexByte(s, '$')
	return i >= 0 && (strings.Contains(s[i:], "${") || strings.Contains(s[i:], "$$"))
}

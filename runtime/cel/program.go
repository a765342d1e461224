// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/ext"
)

const (
	maxText     = 8 << 10
	maxCost     = 1_000_000
	maxTime     = time.Second
	maxPrograms = 1000
	checkEvery  = 100
)

// Variables names the variables of an environment, comma separated and sorted.
// All are of dynamic type.
type Variables string

// Environments of the expressions in specs.
const (
	// Object has the top-level fields of an object.
	Object Variables = "apiVersion,data,kind,metadata,self,spec,status"
	// Dependency has the object that waits and the one it waits for.
	Dependency Variables = "dep,self"
	// Resource has a webhook request and the object it may concern.
	Resource Variables = "req,res"
	// EventAlert has an event and the alert that matched it.
	EventAlert Variables = "alert,event"
)

// Type of an expression's value.
type Type int

// Types.
const (
	// Bool is true or false.
	Bool Type = iota
	// String is text.
	String
)

// Options of [New]. The zero value has the documented limits.
type Options struct {
	// Programs is the number of cached programs; 0 is 1,000.
	Programs int
	// Cost is the greatest cost of an evaluation; 0 is 1,000,000.
	Cost uint64
	// Time is the longest evaluation; 0 is one second.
	Time time.Duration
}

// Compiler compiles expressions. Use [New].
type Compiler struct {
	o Options

	mu       sync.Mutex
	envs     map[Variables]*cel.Env
	programs map[key]*list.Element
	order    *list.List // of *cached, most recently used first
	compiled int
}

type key struct {
	vars Variables
	typ  Type
	text string
}

type cached struct {
	key  key
	prog *Program
	err  error
}

// Program is a compiled expression.
type Program struct {
	text string
	prog cel.Program
	time time.Duration

	variables  bool // reads any variable
	generation bool // reads observedGeneration
}

// New returns a compiler with an empty cache.
func New(o Options) *Compiler {
	if o.Programs <= 0 {
		o.Programs = maxPrograms
	}
	if o.Cost == 0 {
		o.Cost = maxCost
	}
	if o.Time <= 0 {
		o.Time = maxTime
	}
	return &Compiler{o: o, envs: map[Variables]*cel.Env{}, programs: map[key]*list.Element{}, order: list.New()}
}

// Compile returns the program of an expression over vars that returns typ. The
// error is a [*ExprError] and is cached like a program.
func (c *Compiler) Compile(text string, vars Variables, typ Type) (*Program, error) {
	if len(text) > maxText {
		return nil, &ExprError{Expr: short(text), Compile: true, Err: fmt.Errorf("longer than %d bytes", maxText)}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := key{vars, typ, text}
	if el, ok := c.programs[k]; ok {
		c.order.MoveToFront(el)
		if e, ok := el.Value.(*cached); ok {
			return e.prog, e.err
		}
	}
	p, err := c.compile(text, vars, typ)
	c.compiled++
	c.programs[k] = c.order.PushFront(&cached{k, p, err})
	if c.order.Len() > c.o.Programs {
		if e, ok := c.order.Remove(c.order.Back()).(*cached); ok {
			delete(c.programs, e.key)
		}
	}
	return p, err
}

// Compiled returns how many expressions were compiled, cache hits excluded.
func (c *Compiler) Compiled() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.compiled
}

func (c *Compiler) compile(text string, vars Variables, typ Type) (*Program, error) {
	env, err := c.env(vars)
	if err != nil {
		return nil, &ExprError{Expr: short(text), Compile: true, Err: err}
	}
	checked, issues := env.Compile(text)
	if issues != nil && issues.Err() != nil {
		e := &ExprError{Expr: short(text), Compile: true, Err: errors.New("invalid expression")}
		if list := issues.Errors(); len(list) > 0 {
			e.Line, e.Column = list[0].Location.Line(), list[0].Location.Column()+1
			e.Err = errors.New(strings.ReplaceAll(list[0].Message, "\n", " "))
		}
		return nil, e
	}
	want := cel.BoolType
	if typ == String {
		want = cel.StringType
	}
	if !checked.OutputType().IsExactType(want) && !checked.OutputType().IsExactType(cel.DynType) {
		return nil, &ExprError{
			Expr: short(text), Compile: true,
			Err: fmt.Errorf("returns %s, want %s", checked.OutputType(), want),
		}
	}
	prog, err := env.Program(checked, cel.CostLimit(c.o.Cost), cel.InterruptCheckFrequency(checkEvery), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, &ExprError{Expr: short(text), Compile: true, Err: err}
	}
	p := &Program{text: text, prog: prog, time: c.o.Time}
	p.inspect(checked.NativeRep().Expr(), strings.Split(string(vars), ","))
	return p, nil
}

// inspect notes which variables and fields the expression reads.
func (p *Program) inspect(e ast.Expr, vars []string) {
	ast.PreOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.IdentKind:
			p.variables = p.variables || slices.Contains(vars, e.AsIdent())
		case ast.SelectKind:
			p.generation = p.generation || e.AsSelect().FieldName() == "observedGeneration"
		case ast.CallKind:
			if e.AsCall().FunctionName() != operators.Index {
				return
			}
			for _, a := range e.AsCall().Args() {
				if a.Kind() == ast.LiteralKind {
					p.generation = p.generation || a.AsLiteral().Value() == "observedGeneration"
				}
			}
		}
	}))
}

func (c *Compiler) env(vars Variables) (*cel.Env, error) {
	if e := c.envs[vars]; e != nil {
		return e, nil
	}
	opts := []cel.EnvOption{
		cel.HomogeneousAggregateLiterals(), cel.EagerlyValidateDeclarations(true), cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(), ext.Strings(), ext.Sets(), ext.Encoders(),
	}
	for _, v := range strings.Split(string(vars), ",") {
		opts = append(opts, cel.Variable(v, cel.DynType))
	}
	e, err := cel.NewEnv(opts...)
	if err != nil {
		return nil, err
	}
	c.envs[vars] = e
	return e, nil
}

// Bool evaluates the program to true or false.
func (p *Program) Bool(ctx context.Context, vars map[string]any) (bool, error) {
	v, err := p.eval(ctx, vars)
	if err != nil {
		return false, err
	}
	b, ok := v.(bool)
	if !ok {
		return false, &ExprError{Expr: short(p.text), Err: fmt.Errorf("returned %T, want bool", v)}
	}
	return b, nil
}

// String evaluates the program to text.
func (p *Program) String(ctx context.Context, vars map[string]any) (string, error) {
	v, err := p.eval(ctx, vars)
	if err != nil {
		return "", err
	}
	s, ok := v.(string)
	if !ok {
		return "", &ExprError{Expr: short(p.text), Err: fmt.Errorf("returned %T, want string", v)}
	}
	return s, nil
}

func (p *Program) eval(ctx context.Context, vars map[string]any) (any, error) {
	tctx, cancel := context.WithTimeout(ctx, p.time)
	defer cancel()
	safe := make(map[string]any, len(vars))
	for k, v := range vars {
		safe[k] = WithoutSecrets(v)
	}
	out, _, err := p.prog.ContextEval(tctx, safe)
	switch {
	case err == nil:
		return out.Value(), nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case tctx.Err() != nil:
		return nil, &CostError{Expr: short(p.text), Limit: "time"}
	case strings.Contains(err.Error(), "cost limit exceeded"): // the library has no sentinel for it
		return nil, &CostError{Expr: short(p.text), Limit: "cost"}
	}
	return nil, &ExprError{Expr: short(p.text), Err: errors.New(strings.ReplaceAll(err.Error(), "\n", " "))}
}

// WithoutSecrets returns v, or, when v is an object of kind Secret, a copy
// without its data.
func WithoutSecrets(v any) any {
	m, ok := v.(map[string]any)
	if !ok || m["kind"] != "Secret" || m["apiVersion"] != "v1" {
		return v
	}
	c := maps.Clone(m)
	delete(c, "data")
	delete(c, "stringData")
	return c
}

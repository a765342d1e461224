// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package envsubst replaces ${name} expressions in text the way GitOps clients
// do it after a build.
//
// # Concepts
//
// [Expand] knows the operators of the table below; everything else is text: a
// bare $name, a lone $, backslashes, quotes. $$ is a literal $, so $${name} comes
// out as ${name}. Replacement is a single pass: values are never expanded.
//
//	${v} ${#v}                       value, length in bytes
//	${v:-d} ${v:=d} ${v=d}           d if v is unset or empty; so do :+ and :?
//	${v:2} ${v:2:3}                  substring in bytes; negative counts from the end
//	${v^} ${v^^} ${v,} ${v,,}        case of the first or of all letters
//	${v#p} ${v##p} ${v%p} ${v%%p}    without the shortest, longest prefix or suffix
//	${v/a/b} ${v//a/b}               first, every occurrence of the text a
//	${v/#a/b} ${v/%a/b}              a at the start, at the end
//
// Arguments may hold expressions. Patterns know *, ?, [a-z], [^a-z] and \c.
//
// # Errors
//
// [*Error] names the variable and says what is wrong; it matches [ErrUnset] or
// [ErrSyntax]. A [*LimitError] names the limit that was exceeded. No error holds
// a value.
//
// # Limits
//
// [Limits] lists the bounds. Time is linear in input plus output.
//
// # Concurrency
//
// [Expand] is safe for concurrent use if the Options are.
//
// # Telemetry
//
// None.
package envsubst

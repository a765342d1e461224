// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package clouds imitates the endpoints at which a controller turns a
// Kubernetes token into a cloud's credentials: AWS, Azure, Google Cloud and GitHub
// Apps.
//
// # Concepts
//
// One [Server] has all endpoints, each below a path of its own; [Server.Endpoint]
// names them. Tokens that come in are verified against an issuer of package oidc,
// for the audience the real service demands. What comes out is recorded, so
// that [Server.Issued] tells whether a credential seen elsewhere is genuine.
//
// # Errors
//
// Clients get the services' own error bodies and codes.
//
// # Limits
//
// Bodies are read up to 64 KiB.
//
// # Concurrency
//
// A Server is safe for concurrent use.
package clouds

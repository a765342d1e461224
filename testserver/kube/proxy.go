// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/gitops-kit/sdk/testserver/fault"
)

// Proxy returns the administrator's configuration of a client whose requests
// pass a proxy with the given faults. The proxy speaks HTTP/1.1, so that faults
// reach single bytes and connections, and ends with the test.
func (c *Cluster) Proxy(tb testing.TB, p ...fault.Plan) *rest.Config {
	tb.Helper()
	config, _ := c.FaultProxy(tb, p...)
	return config
}

// FaultProxy is [Cluster.Proxy] and returns the proxy besides, to change the
// faults while clients run and to read its log.
func (c *Cluster) FaultProxy(tb testing.TB, p ...fault.Plan) (*rest.Config, *fault.Proxy) {
	tb.Helper()
	direct := c.Config()
	direct.UserAgent = "" // the client's own is passed on
	transport, err := rest.TransportFor(direct)
	if err != nil {
		tb.Fatalf("kube: proxy: %v", err)
	}
	proxy, err := fault.RunProxy(context.WithoutCancel(tb.Context()), fault.ProxyOptions{
		Upstream: direct.Host, Transport: transport, TLS: true, Plans: p,
	})
	if err != nil {
		tb.Fatalf("kube: proxy: %v", err)
	}
	tb.Cleanup(proxy.Stop)
	config := c.tune(&rest.Config{Host: proxy.URL()})
	config.CAData = proxy.CA()
	return config, proxy
}

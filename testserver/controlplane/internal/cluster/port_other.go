// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package cluster

import (
	"context"
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

func dup2(from, to int) error { return unix.Dup2(from, to) }

// port is a TCP port. The first listener is opened with it; after that one
// was closed, the port is free for others until it is opened again.
type port struct {
	host   string
	number int
	first  *net.TCPListener
}

func reserve(ctx context.Context, host string, number int) (*port, error) {
	p := &port{host: host, number: number}
	l, err := p.open(ctx)
	if err != nil {
		return nil, err
	}
	p.first, p.number = l, l.Addr().(*net.TCPAddr).Port
	return p, nil
}

func (p *port) open(ctx context.Context) (*net.TCPListener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(p.host, strconv.Itoa(p.number)))
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// listen opens a listener on the port.
func (p *port) listen(ctx context.Context) (*net.TCPListener, error) {
	if l := p.first; l != nil {
		p.first = nil
		return l, nil
	}
	return p.open(ctx)
}

func (p *port) release() {
	if p.first != nil {
		_ = p.first.Close()
	}
}

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import (
	"context"
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

func dup2(from, to int) error { return unix.Dup3(from, to, 0) }

// port is a TCP port that stays with this process while nothing listens on
// it: a socket that is bound but does not listen keeps others away, and
// clients are refused.
type port struct {
	fd     int
	host   string
	number int
}

func reserve(_ context.Context, host string, number int) (*port, error) {
	ip := net.ParseIP(host)
	family, addr := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: number, Addr: [16]byte(ip.To16())})
	if v4 := ip.To4(); v4 != nil {
		family, addr = unix.AF_INET, &unix.SockaddrInet4{Port: number, Addr: [4]byte(v4)}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, &net.OpError{Op: "socket", Net: "tcp", Err: err}
	}
	p := &port{fd: fd, host: host}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		p.release()
		return nil, &net.OpError{Op: "setsockopt", Net: "tcp", Err: err}
	}
	if err := unix.Bind(fd, addr); err != nil {
		p.release()
		return nil, &net.OpError{Op: "bind", Net: "tcp", Addr: &net.TCPAddr{IP: ip, Port: number}, Err: err}
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		p.release()
		return nil, &net.OpError{Op: "getsockname", Net: "tcp", Err: err}
	}
	switch a := bound.(type) {
	case *unix.SockaddrInet4:
		p.number = a.Port
	case *unix.SockaddrInet6:
		p.number = a.Port
	}
	return p, nil
}

// listen opens a listener on the port.
func (p *port) listen(ctx context.Context) (*net.TCPListener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(p.host, strconv.Itoa(p.number)))
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

func (p *port) release() { _ = unix.Close(p.fd) }

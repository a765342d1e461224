// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"net"
	"time"
)

// Tolerant accepts connections as a server does.
func Tolerant(l net.Listener, stall time.Duration) net.Listener { return limit(l, -1, false, stall) }

// Expire makes the deadline of such a connection pass.
func Expire(c net.Conn) error {
	return c.(*tcpConn).TCPConn.SetWriteDeadline(time.Now().Add(-time.Second))
}

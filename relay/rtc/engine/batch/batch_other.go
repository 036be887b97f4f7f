//go:build !linux

package batch

import (
	"net"
	"net/netip"
)

// sockaddr is not needed here.
type sockaddr struct{}

func (*sockaddr) set(netip.AddrPort, bool) {}

func newWire(conn *net.UDPConn) (wire, error) { return plainWire{conn}, nil }

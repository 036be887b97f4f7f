package rtc

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// Port is where sessions come in, by UDP and TCP under the same number; or the part of one that is left to somebody.
type Port struct {
	UDP net.PacketConn // its address is a *net.UDPAddr
	TCP net.Listener   // nil without ICE-TCP
}

// socketBuffer is asked of the kernel for the one UDP socket that carries all sessions: a keyframe for a thousand
// viewers goes out at once. The kernel gives less where net.core.wmem_max says so.
const socketBuffer = 8 << 20

// Listen opens the port that addr names as host:port, with TCP or without. Where the kernel chooses the number, it may
// have to try again: what is free for the one may be taken for the other.
func Listen(addr string, tcp bool) (*Port, error) {
	resolved, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("rtc.addr %q: %w: write it as host:port", addr, err)
	}
	const attempts = 8
	for range attempts {
		udp, failed := net.ListenUDP("udp", resolved)
		if failed != nil {
			return nil, fmt.Errorf("rtc.addr %q: %w", addr, failed)
		}
		_ = udp.SetReadBuffer(socketBuffer) // best effort, see socketBuffer
		_ = udp.SetWriteBuffer(socketBuffer)
		if !tcp {
			return &Port{UDP: udp}, nil
		}
		listener, failed := net.Listen("tcp", udp.LocalAddr().String())
		if failed == nil {
			return &Port{UDP: udp, TCP: listener}, nil
		}
		_ = udp.Close() // another is tried
		if err = failed; resolved.Port != 0 {
			return nil, fmt.Errorf("rtc.addr %q: %w", addr, err)
		}
	}
	return nil, fmt.Errorf("rtc.addr %q: no port is free for UDP and TCP: %w", addr, err)
}

// Close closes both.
func (p *Port) Close() error {
	err := p.UDP.Close()
	if p.TCP != nil {
		err = errors.Join(err, p.TCP.Close())
	}
	return err
}

// Addr is the port's address.
func (p *Port) Addr() netip.AddrPort {
	addr := p.UDP.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
}

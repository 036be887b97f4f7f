package cluster

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
)

// faulty is the real network with a cutter. It can also record what goes through it.
type faulty struct {
	mu      sync.Mutex
	dropped func(peer netip.AddrPort) bool // nil: nothing
	record  func(from netip.AddrPort, datagram []byte)
}

// cut drops all packets from and to peers that match, and refuses streams to them. nil heals.
func (f *faulty) cut(match func(peer netip.AddrPort) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dropped = match
}

func (f *faulty) drops(peer netip.AddrPort) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dropped != nil && f.dropped(netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port()))
}

func (f *faulty) ListenPacket(addr netip.AddrPort) (packetLine, error) {
	line, err := machine{}.ListenPacket(addr)
	return &faultyLine{line, f}, err
}

func (f *faulty) Listen(addr netip.AddrPort) (net.Listener, error) {
	l, err := machine{}.Listen(addr)
	if err != nil {
		return nil, err
	}
	return &faultyListener{l, f}, nil
}

func (f *faulty) Dial(ctx context.Context, from netip.Addr, addr string) (net.Conn, error) {
	if f.drops(netip.MustParseAddrPort(addr)) {
		return nil, errors.New("cut off")
	}
	return machine{}.Dial(ctx, from, addr)
}

type faultyLine struct {
	packetLine
	f *faulty
}

func (l *faultyLine) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	for {
		n, from, err := l.packetLine.ReadFromUDPAddrPort(b)
		if err == nil && l.f.drops(from) {
			continue
		}
		l.f.mu.Lock()
		if l.f.record != nil && err == nil {
			l.f.record(from, append([]byte(nil), b[:n]...))
		}
		l.f.mu.Unlock()
		return n, from, err
	}
}

func (l *faultyLine) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	if l.f.drops(to) {
		return len(b), nil
	}
	return l.packetLine.WriteToUDPAddrPort(b, to)
}

// faultyListener refuses streams while everything is cut; from whom one comes its port does not tell.
type faultyListener struct {
	net.Listener
	f *faulty
}

func (l *faultyListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err == nil && l.f.drops(netip.AddrPort{}) {
			conn.Close()
			continue
		}
		return conn, err
	}
}

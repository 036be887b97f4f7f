package impair

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"sync"
)

// Switch is a network that can be torn apart and mended: real processes on one machine talk through it, and it tells
// them apart by their addresses. Each has an address of its own, on which it listens and from which it sends, and a
// front, another address that it tells the others. What comes in at a front goes on to the process behind it, over UDP
// and TCP, unless sender and process are in different parts.
//
//	process at 127.0.1.1 -> front 127.0.2.2 : [Switch] -> process at 127.0.1.2
//
// Where the network is torn, packets are lost in silence, and streams stand still and go on once it is whole again, as
// TCP does. It needs no privileges, but Linux, where all of 127.0.0.0/8 is this machine. Make one with NewSwitch.
type Switch struct {
	done chan struct{} // closed by Close
	wg   sync.WaitGroup

	mu      sync.Mutex // guards all below
	part    map[netip.Addr]int
	cuts    map[cut]bool  // beside the parts
	changed chan struct{} // closed when part changes
	open    map[closer]struct{}
	closed  bool
}

// cut is a way that is closed: from a process to a port of another.
type cut struct {
	from netip.Addr
	to   netip.AddrPort
}

type closer interface{ Close() error }

// NewSwitch makes a whole network. Call Close when done.
func NewSwitch() *Switch {
	return &Switch{done: make(chan struct{}), changed: make(chan struct{}), open: map[closer]struct{}{}}
}

// Split tears the network: each of the groups is a part of its own, and who is in none is in another one with the rest.
func (s *Switch) Split(groups ...[]netip.Addr) {
	part := map[netip.Addr]int{}
	for i, group := range groups {
		for _, a := range group {
			part[a] = i + 1
		}
	}
	s.set(part, nil)
}

// Cut closes the way from one process to one port of another, and that of the answers; what else they say to each other goes
// on. It stays until Split or Heal.
func (s *Switch) Cut(from netip.Addr, to netip.AddrPort) {
	s.mu.Lock()
	cuts := maps.Clone(s.cuts)
	part := s.part
	s.mu.Unlock()
	if cuts == nil {
		cuts = map[cut]bool{}
	}
	cuts[cut{from, to}] = true
	s.set(part, cuts)
}

// Heal makes the network whole.
func (s *Switch) Heal() { s.set(nil, nil) }

func (s *Switch) set(part map[netip.Addr]int, cuts map[cut]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.part, s.cuts = part, cuts
	close(s.changed)
	s.changed = make(chan struct{})
}

// whole tells whether there is a way from a to the process b, and returns a channel that is closed when that may have changed.
func (s *Switch) whole(a netip.Addr, b netip.AddrPort) (bool, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.part[a] == s.part[b.Addr()] && !s.cuts[cut{a, b}], s.changed
}

// await returns once there is; false if the switch was closed before.
func (s *Switch) await(a netip.Addr, b netip.AddrPort) bool {
	for {
		ok, changed := s.whole(a, b)
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-s.done:
			return false
		}
	}
}

// Close ends the network and waits for what it started.
func (s *Switch) Close() {
	s.mu.Lock()
	s.closed = true
	for c := range s.open {
		_ = c.Close()
	}
	s.mu.Unlock()
	close(s.done)
	s.wg.Wait()
}

// keep closes c with the switch; false where that is closed already.
func (s *Switch) keep(c closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close()
		return false
	}
	s.open[c] = struct{}{}
	return true
}

func (s *Switch) drop(c closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
	_ = c.Close()
}

// Front takes what is sent to a port of the address front to the same port of the process, over UDP and TCP.
func (s *Switch) Front(front netip.Addr, process netip.AddrPort) error {
	at := netip.AddrPortFrom(front, process.Port())
	packets, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return fmt.Errorf("front for packets: %w", err)
	}
	streams, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at))
	if err != nil {
		_ = packets.Close()
		return fmt.Errorf("front for streams: %w", err)
	}
	if s.keep(packets) && s.keep(streams) {
		s.wg.Go(func() { s.carryPackets(packets, process) })
		s.wg.Go(func() { s.carryStreams(streams, process) })
	}
	return nil
}

// carryPackets carries packets to a process. Each sender has a socket of its own towards it, by which answers come back.
func (s *Switch) carryPackets(front *net.UDPConn, process netip.AddrPort) {
	senders := map[netip.AddrPort]*net.UDPConn{}
	buffer := make([]byte, maxBytes)
	for {
		n, from, err := front.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if ok, _ := s.whole(from.Addr(), process); err != nil || !ok {
			continue
		}
		back := senders[from]
		if back == nil {
			if len(senders) >= maxClients {
				continue
			}
			if back, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(process)); err != nil || !s.keep(back) {
				continue
			}
			senders[from] = back
			s.wg.Go(func() { s.carryAnswers(back, front, from, process) })
		}
		_, _ = back.Write(buffer[:n]) // a packet that cannot be sent is a lost one
	}
}

func (s *Switch) carryAnswers(back, front *net.UDPConn, to, process netip.AddrPort) {
	buffer := make([]byte, maxBytes)
	for {
		n, err := back.Read(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if ok, _ := s.whole(to.Addr(), process); err == nil && ok {
			_, _ = front.WriteToUDPAddrPort(buffer[:n], to)
		}
	}
}

// carryStreams carries connections to a process.
func (s *Switch) carryStreams(front *net.TCPListener, process netip.AddrPort) {
	for {
		in, err := front.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || !s.keep(in) {
			continue
		}
		s.wg.Go(func() {
			defer s.drop(in)
			s.carryStream(in, process)
		})
	}
}

func (s *Switch) carryStream(in *net.TCPConn, process netip.AddrPort) {
	from := in.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
	if !s.await(from, process) {
		return
	}
	out, err := net.DialTCP("tcp4", nil, net.TCPAddrFromAddrPort(process))
	if err != nil || !s.keep(out) {
		return
	}
	defer s.drop(out)
	var back sync.WaitGroup
	back.Go(func() { s.pump(in, out, from, process) })
	s.pump(out, in, from, process)
	back.Wait()
}

// pump copies one direction until its end, which it passes on.
func (s *Switch) pump(to, from *net.TCPConn, a netip.Addr, b netip.AddrPort) {
	buffer := make([]byte, maxBytes)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if !s.await(a, b) {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				_ = from.Close() // whom nobody listens to
				return
			}
		}
		if err != nil {
			_ = to.CloseWrite()
			return
		}
	}
}

// Package batch moves many datagrams with few system calls, through one UDP socket that many goroutines share.
//
// A Socket is the port. Each goroutine that sends much has a Batch of its own on it: an arena in which packets are
// written one after another, where they are cut out by the kernel; nothing is copied in between. Packets for one Route
// that follow each other form a run: all of one size, but for the last, which may be shorter. On Linux a run is one
// message to the kernel (UDP_SEGMENT, "GSO") and all runs together are one system call (sendmmsg). Where the kernel or
// the way to a peer does not take that, and on other systems, packets go out one by one; callers see no difference.
//
// A Receiver reads what has come, many datagrams at a time (recvmmsg).
package batch

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
)

const (
	// arenaSize is about the second-level cache of a core: larger batches were measured to gain nothing.
	arenaSize = 256 << 10
	// Bounds of a run: what kernels before 6.9 take in one message, and the largest UDP payload over IPv4.
	maxSegments = 64
	maxRunSize  = 65507
	// maxRuns is how many messages one call may have (UIO_MAXIOV).
	maxRuns = 1024
	// MaxDatagram is the largest datagram that is received. What is larger is no packet of a WebRTC peer.
	MaxDatagram = 2048
)

// Route is a way to a peer, made by Socket.Route. What is learned of it while sending belongs to the goroutine that
// sends to it.
type Route struct {
	to     netip.AddrPort
	single bool // packets must go one by one
	name   sockaddr
}

// Addr is where the route leads.
func (r *Route) Addr() netip.AddrPort { return r.to }

// run is packets for one route that lie in the arena one after another.
type run struct {
	route    *Route
	from, to int // in the arena
	segment  int // size of all packets but the last
	packets  int
	open     bool // the last packet is as long as the others, so that more may follow
}

// takes tells whether a packet of n bytes may join.
func (r *run) takes(n int, route *Route) bool {
	return r.open && r.route == route && !route.single && n <= r.segment && r.packets < maxSegments && r.to-r.from+n <= maxRunSize
}

// Counts are what a batch, or all batches of a socket, did so far.
type Counts struct {
	Packets uint64 // handed to the kernel
	Bytes   uint64 // of UDP payload in them
	Runs    uint64 // messages that they were in
	Calls   uint64 // system calls
	Dropped uint64 // packets that the kernel refused: no route, no buffers
	Singled uint64 // routes that do not take runs
}

// counters are Counts that several goroutines add to.
type counters struct {
	packets, bytes, runs, calls, dropped, singled atomic.Uint64
}

func (c *counters) read() Counts {
	return Counts{
		Packets: c.packets.Load(), Bytes: c.bytes.Load(), Runs: c.runs.Load(), Calls: c.calls.Load(),
		Dropped: c.dropped.Load(), Singled: c.singled.Load(),
	}
}

// Socket is a UDP port. Its methods are safe for concurrent use.
type Socket struct {
	wire     wire
	local    net.Addr
	wide     bool // of IPv6, which takes IPv4 as mapped addresses
	options  Options
	counters counters
}

// wire is the system's part of a socket.
type wire interface {
	// write sends one datagram at once, or not at all.
	write(packet []byte, to *Route) error
	sender(*Socket) sender
	receiver() receiver
	// runs tells whether several packets may be one message.
	runs() bool
	// close ends all reading and writing, and waits for what is under way.
	close() error
}

// Options are for tests and for systems that misbehave. Zero means default.
type Options struct {
	Plain  bool // send and receive one by one
	Single bool // send several at once, but without runs
}

// NewSocket takes conn over: nobody else may use it from now on.
func NewSocket(conn *net.UDPConn, options Options) (*Socket, error) {
	addr := conn.LocalAddr().(*net.UDPAddr)
	s := &Socket{local: addr, wide: addr.IP.To4() == nil, options: options}
	if options.Plain {
		s.wire = plainWire{conn}
		return s, nil
	}
	var err error
	s.wire, err = newWire(conn)
	return s, err
}

// LocalAddr is a *net.UDPAddr.
func (s *Socket) LocalAddr() net.Addr { return s.local }

// Close ends the socket. Receive returns an error then.
func (s *Socket) Close() error { return s.wire.close() }

// Counts are those of all batches.
func (s *Socket) Counts() Counts { return s.counters.read() }

// ErrFamily is returned for an address that the socket does not reach.
var ErrFamily = errors.New("the socket is bound to another address family")

// Route is the way to an address.
func (s *Socket) Route(to netip.AddrPort) (*Route, error) {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	if !to.IsValid() || !s.wide && !to.Addr().Is4() {
		return nil, fmt.Errorf("send to %v: %w", to, ErrFamily)
	}
	r := &Route{to: to, single: s.options.Single || !s.wire.runs()}
	r.name.set(to, s.wide)
	return r, nil
}

// Write sends one datagram at once. One for which there is no room is lost, like others on their way.
func (s *Socket) Write(packet []byte, to *Route) error { return s.wire.write(packet, to) }

// sender hands runs to the kernel. Both files with an implementation say how.
type sender interface {
	send(arena []byte, runs []run)
}

// Batch collects packets and sends them. It is owned by one goroutine.
type Batch struct {
	// Flushed, if not nil, is called each time that the kernel has taken packets. It must not add any.
	Flushed func()

	sender sender
	arena  []byte
	used   int
	runs   []run
}

// Batch makes a batch that sends through the socket.
func (s *Socket) Batch() *Batch {
	return &Batch{sender: s.wire.sender(s), arena: make([]byte, arenaSize), runs: make([]run, 0, maxRuns)}
}

// Room is an empty slice with room for a packet of n bytes, at most MaxDatagram. Write the packet there and Add it;
// another Room gives the same place again.
func (b *Batch) Room(n int) []byte {
	if b.used+n > len(b.arena) || len(b.runs) == maxRuns {
		b.Flush()
	}
	return b.arena[b.used : b.used : b.used+n]
}

// Add appends the packet that was written in the last Room.
func (b *Batch) Add(packet []byte, to *Route) {
	n := len(packet)
	if last := len(b.runs) - 1; last >= 0 && b.runs[last].takes(n, to) {
		r := &b.runs[last]
		r.to += n
		r.packets++
		r.open = n == r.segment
	} else {
		b.runs = append(b.runs, run{route: to, from: b.used, to: b.used + n, segment: n, packets: 1, open: true})
	}
	b.used += n
}

// Flush sends all that was added.
func (b *Batch) Flush() {
	if len(b.runs) > 0 {
		b.sender.send(b.arena, b.runs)
		if b.Flushed != nil {
			b.Flushed()
		}
	}
	b.used, b.runs = 0, b.runs[:0]
}

// plainWire is a socket of Go's, on any system.
type plainWire struct{ conn *net.UDPConn }

func (w plainWire) write(packet []byte, to *Route) error {
	_, err := w.conn.WriteToUDPAddrPort(packet, to.to)
	return err
}

func (w plainWire) sender(s *Socket) sender { return &plain{s} }
func (w plainWire) receiver() receiver      { return newPlainReceiver(w.conn) }
func (w plainWire) runs() bool              { return true } // they are taken apart again
func (w plainWire) close() error            { return w.conn.Close() }

// plain sends one by one.
type plain struct{ socket *Socket }

func (p *plain) send(arena []byte, runs []run) {
	for i := range runs {
		p.sendRun(arena, &runs[i])
	}
}

// sendRun sends the packets of a run, each by a call of its own.
func (p *plain) sendRun(arena []byte, r *run) {
	c := &p.socket.counters
	for from := r.from; from < r.to; from += r.segment {
		packet := arena[from:min(from+r.segment, r.to)]
		c.calls.Add(1)
		if err := p.socket.Write(packet, r.route); err != nil {
			c.dropped.Add(1)
			continue
		}
		c.packets.Add(1)
		c.runs.Add(1)
		c.bytes.Add(uint64(len(packet)))
	}
}

// Datagram is one that has come. Its bytes are good until the next Receive.
type Datagram struct {
	From netip.AddrPort
	Data []byte
}

// receiver reads datagrams from the kernel.
type receiver interface {
	receive() ([]Datagram, error)
}

// Receiver reads a socket. It is owned by one goroutine.
type Receiver struct{ receiver }

// Receiver makes a reader of the socket.
func (s *Socket) Receiver() *Receiver { return &Receiver{s.wire.receiver()} }

// Receive waits for datagrams. It returns an error when the socket was closed. Datagrams larger than
// MaxDatagram are passed over.
func (r *Receiver) Receive() ([]Datagram, error) { return r.receive() }

// plainReceiver reads one by one.
type plainReceiver struct {
	conn   *net.UDPConn
	buffer []byte
	one    [1]Datagram
}

func newPlainReceiver(conn *net.UDPConn) *plainReceiver {
	return &plainReceiver{conn: conn, buffer: make([]byte, MaxDatagram+1)}
}

func (p *plainReceiver) receive() ([]Datagram, error) {
	for failures := 0; ; failures++ {
		n, from, err := p.conn.ReadFromUDPAddrPort(p.buffer)
		switch {
		case err == nil && n <= MaxDatagram:
			p.one[0] = Datagram{From: unmapped(from), Data: p.buffer[:n]}
			return p.one[:], nil
		case errors.Is(err, net.ErrClosed):
			return nil, err
		case failures > 1000: // some systems tell here of peers that are gone; nothing else goes on like that
			return nil, err
		}
	}
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// transport carries memberlist's packets and streams, sealed (packets.go) and over TLS (keys.go). memberlist itself
// runs without encryption above it, and so never parses a byte from somebody who has no key.
type transport struct {
	line      packetLine
	listener  net.Listener
	dial      func(ctx context.Context, from netip.Addr, addr string) (net.Conn, error)
	bound     netip.Addr // that the sockets are bound to; unspecified or invalid for all
	packets   *packets
	tls       *tls.Config
	allowed   func(netip.Addr) bool
	advertise netip.AddrPort
	metrics   *metrics

	packetCh chan *memberlist.Packet // filled by readPackets; never closed
	streamCh chan net.Conn           // filled by greet; never closed
	closed   context.Context         // done when Shutdown begins
	close    context.CancelFunc
	running  sync.WaitGroup

	mu    sync.Mutex // guards conns, from
	conns map[net.Conn]netip.Addr
	from  map[netip.Addr]int // streams that came from an address
}

// packetLine is what the transport needs of a UDP socket.
type packetLine interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	io.Closer
}

const (
	// dialTimeout is how long it may take until a stream stands.
	dialTimeout = 1500 * time.Millisecond
	// streamTimeout bounds an exchange of states, which on a long line may take some megabytes.
	streamTimeout = 10 * time.Second
	// maxStreams may be open at one time towards us, maxStreamsFrom of them from one address. An exchange of states
	// may take tens of megabytes of memory while it lasts.
	maxStreams     = 32
	maxStreamsFrom = 8
	// maxStream bounds what is read from a stream: memberlist's own list of nodes and our state.
	maxStream = 2 * maxState
)

var errClosed = errors.New("this node has left the cluster")

// start begins to listen. Shutdown ends it.
func (t *transport) start() {
	t.running.Add(2)
	go t.readPackets()
	go t.acceptStreams()
}

// FinalAdvertiseAddr implements memberlist.Transport.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.advertise.Addr().AsSlice(), int(t.advertise.Port()), nil
}

// PacketCh implements memberlist.Transport.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packetCh }

// StreamCh implements memberlist.Transport.
func (t *transport) StreamCh() <-chan net.Conn { return t.streamCh }

// WriteTo implements memberlist.Transport.
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("gossip address: %w", err)
	}
	if len(b) > maxPayload {
		return time.Time{}, fmt.Errorf("a gossip packet of %d bytes is larger than %d", len(b), maxPayload)
	}
	now := time.Now()
	out, dropped := t.packets.send(now, netip.AddrPortFrom(to.Addr().Unmap(), to.Port()), b)
	t.metrics.refused(refusedFull, dropped)
	return now, t.write(out)
}

// WriteToAddress implements memberlist.NodeAwareTransport.
func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, a.Addr)
}

func (t *transport) write(out []datagram) (err error) {
	for _, d := range out {
		if _, e := t.line.WriteToUDPAddrPort(d.buf, d.to); e != nil {
			err = e
		}
	}
	return err
}

func (t *transport) readPackets() {
	defer t.running.Done()
	buf := make([]byte, maxDatagram+1)
	for {
		n, from, err := t.line.ReadFromUDPAddrPort(buf)
		now := time.Now()
		if t.closed.Err() != nil {
			return
		}
		if err != nil { // such as an ICMP error for a packet that we sent
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		if !t.allowed(from.Addr()) {
			t.metrics.refused(refusedSource, 1)
			continue
		}
		payload, answers, why := t.packets.receive(now, from, buf[:n])
		if why != "" {
			t.metrics.refused(why, 1)
		}
		t.write(answers) //nolint:errcheck // as good as lost on the way
		if len(payload) == 0 {
			continue
		}
		select {
		case t.packetCh <- &memberlist.Packet{Buf: payload, From: net.UDPAddrFromAddrPort(from), Timestamp: now}:
		case <-t.closed.Done():
			return
		}
	}
}

// DialTimeout implements memberlist.Transport.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(t.closed, min(timeout, dialTimeout))
	defer cancel()
	raw, err := t.dial(ctx, t.bound, addr)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, t.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return t.keep(conn, netip.Addr{})
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(a.Addr, timeout)
}

func (t *transport) acceptStreams() {
	defer t.running.Done()
	for t.closed.Err() == nil {
		raw, err := t.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			select { // out of file descriptors, most likely
			case <-time.After(50 * time.Millisecond):
			case <-t.closed.Done():
			}
			continue
		}
		from := addrOf(raw.RemoteAddr())
		if !t.allowed(from) {
			t.metrics.refused(refusedSource, 1)
			raw.Close()
			continue
		}
		conn, err := t.keep(raw, from)
		if err != nil {
			t.metrics.refused(refusedBusy, 1)
			raw.Close()
			continue
		}
		t.running.Add(1)
		go t.greet(conn)
	}
}

// greet hands a stream on to memberlist once its other end has proved that it holds the key, and begins as it should.
func (t *transport) greet(raw net.Conn) {
	defer t.running.Done()
	ctx, cancel := context.WithTimeout(t.closed, dialTimeout)
	defer cancel()
	conn := tls.Server(raw, t.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		t.metrics.refused(refusedStream, 1)
		raw.Close()
		return
	}
	first := []byte{0}
	if err := conn.SetReadDeadline(time.Now().Add(dialTimeout)); err != nil {
		raw.Close()
		return
	}
	if _, err := io.ReadFull(conn, first); err != nil || !expected(first[0]) {
		t.metrics.refused(refusedMessage, 1)
		raw.Close()
		return
	}
	select {
	case t.streamCh <- &begun{Conn: conn, first: first}:
	case <-t.closed.Done():
		raw.Close()
	}
}

// expected tells whether a stream of memberlist's may begin with b: with a ping, an exchange of states, or a message of
// ours. Others may be a packed message, which our nodes do not send, and which would be unpacked at once.
func expected(b byte) bool {
	const ping, pushPull, user = 0, 6, 8 // memberlist only ever appends to these
	return b == ping || b == pushPull || b == user
}

// begun is a connection of which the first byte was read already.
type begun struct {
	net.Conn
	first []byte // owned by the reader
}

func (b *begun) Read(p []byte) (int, error) {
	if len(b.first) > 0 && len(p) > 0 {
		n := copy(p, b.first)
		b.first = b.first[n:]
		return n, nil
	}
	return b.Conn.Read(p)
}

// keep counts a connection until it is closed, and closes it at Shutdown. from is invalid for those that we opened.
func (t *transport) keep(conn net.Conn, from netip.Addr) (net.Conn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed.Err() != nil {
		conn.Close()
		return nil, errClosed
	}
	if from.IsValid() {
		total := 0
		for _, n := range t.from {
			total += n
		}
		if total >= maxStreams || t.from[from] >= maxStreamsFrom {
			return nil, errors.New("too many streams")
		}
		t.from[from]++
	}
	kept := &stream{Conn: conn, left: maxStream}
	kept.forget = sync.OnceFunc(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.conns, kept)
		if t.from[from]--; t.from[from] <= 0 {
			delete(t.from, from)
		}
	})
	t.conns[kept] = from
	return kept, nil
}

// Shutdown implements memberlist.Transport.
func (t *transport) Shutdown() error {
	// Nothing new first, so that what is closed next stays so; then what waits on the line wakes up and ends.
	t.close()
	t.line.Close()
	t.listener.Close()
	t.mu.Lock()
	open := make([]net.Conn, 0, len(t.conns))
	for conn := range t.conns {
		open = append(open, conn)
	}
	t.mu.Unlock()
	for _, conn := range open {
		conn.Close()
	}
	t.running.Wait()
	return nil
}

// stream is a connection that is counted, and from which no more than left bytes are read.
type stream struct {
	net.Conn
	left   int64 // owned by the reader
	forget func()
}

func (s *stream) Read(b []byte) (int, error) {
	if s.left <= 0 {
		return 0, fmt.Errorf("a gossip stream of more than %d bytes", int64(maxStream))
	}
	n, err := s.Conn.Read(b[:min(int64(len(b)), s.left)])
	s.left -= int64(n)
	return n, err
}

func (s *stream) Close() error {
	s.forget()
	return s.Conn.Close()
}

func addrOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

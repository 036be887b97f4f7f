package engine

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"banyan/relay/rtc"
	"banyan/relay/rtc/engine/batch"
)

// Rest is the part of the port that is not the engine's: what belongs to no viewer here. Give it to a network, and close
// that before the engine. All packets that are too much for it are dropped, and counted.
func (e *Engine) Rest() *rtc.Port {
	e.rest.wanted.Store(true)
	port := &rtc.Port{UDP: e.rest}
	if e.restTCP != nil {
		port.TCP = e.restTCP
	}
	return port
}

// restQueue is how many packets may wait for the rest to read them: a burst of several publishers.
const restQueue = 1024

// rest is a net.PacketConn on a part of the engine's socket.
type rest struct {
	socket *batch.Socket
	wanted atomic.Bool     // somebody is there to read
	queue  chan restPacket // never closed
	free   sync.Pool       // of *[]byte
	ended  chan struct{}   // closed by Close
	close  sync.Once
}

type restPacket struct {
	data *[]byte
	from netip.AddrPort
}

func newRest(socket *batch.Socket) *rest {
	return &rest{
		socket: socket, queue: make(chan restPacket, restQueue), ended: make(chan struct{}),
		free: sync.Pool{New: func() any { return new([]byte) }},
	}
}

// put queues a copy of a packet, and tells whether there was room. Where nobody reads there is none.
func (r *rest) put(packet []byte, from netip.AddrPort) bool {
	if !r.wanted.Load() {
		return false
	}
	b := r.free.Get().(*[]byte)
	*b = append((*b)[:0], packet...)
	select {
	case r.queue <- restPacket{b, from}:
		return true
	default:
		r.free.Put(b)
		return false
	}
}

// ReadFromAddrPort is ReadFrom without allocating; the WebRTC stack looks for it.
func (r *rest) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case p := <-r.queue:
		n := copy(b, *p.data)
		r.free.Put(p.data)
		return n, p.from, nil
	case <-r.ended:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

// WriteToAddrPort is WriteTo as the WebRTC stack likes it.
func (r *rest) WriteToAddrPort(b []byte, to netip.AddrPort) (int, error) {
	route, err := r.socket.Route(to)
	if err != nil {
		return 0, err
	}
	if err := r.socket.Write(b, route); err != nil {
		return 0, err
	}
	return len(b), nil
}

// ReadFrom implements net.PacketConn.
func (r *rest) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := r.ReadFromAddrPort(b)
	if err != nil {
		return 0, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// WriteTo implements net.PacketConn.
func (r *rest) WriteTo(b []byte, to net.Addr) (int, error) {
	addr, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, net.InvalidAddrError("not an address of UDP")
	}
	return r.WriteToAddrPort(b, addr.AddrPort())
}

// Close implements net.PacketConn. The socket goes on.
func (r *rest) Close() error {
	r.close.Do(func() { close(r.ended) })
	return nil
}

// LocalAddr implements net.PacketConn.
func (r *rest) LocalAddr() net.Addr { return r.socket.LocalAddr() }

// SetDeadline implements net.PacketConn. Nobody who shares a port sets deadlines on it.
func (r *rest) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline implements net.PacketConn.
func (r *rest) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline implements net.PacketConn.
func (r *rest) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// restListener is a net.Listener of connections that are not the engine's.
type restListener struct {
	addr  net.Addr
	queue chan net.Conn // never closed
	ended chan struct{} // closed by Close
	close sync.Once
}

func newRestListener(addr net.Addr) *restListener {
	return &restListener{addr: addr, queue: make(chan net.Conn), ended: make(chan struct{})}
}

// put hands over a connection from which head was read already. It waits for Accept, or for Close, which closes it.
func (l *restListener) put(c net.Conn, head []byte) {
	select {
	case l.queue <- &unread{Conn: c, head: bytes.Clone(head)}:
	case <-l.ended:
		c.Close()
	}
}

// Accept implements net.Listener.
func (l *restListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.ended:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *restListener) Close() error {
	l.close.Do(func() { close(l.ended) })
	return nil
}

// Addr implements net.Listener.
func (l *restListener) Addr() net.Addr { return l.addr }

// unread is a connection with its beginning put back.
type unread struct {
	net.Conn
	head []byte
}

func (u *unread) Read(b []byte) (int, error) {
	if len(u.head) > 0 {
		n := copy(b, u.head)
		u.head = u.head[n:]
		return n, nil
	}
	return u.Conn.Read(b)
}

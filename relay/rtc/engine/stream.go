package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"banyan/relay/rtc"
	"banyan/relay/rtc/engine/batch"
	"banyan/relay/rtc/engine/stun"
)

// Viewers whose network blocks UDP come by TCP (RFC 6544): packets are framed by two bytes of length (RFC 4571). A
// connection is a path like any other. It belongs to a viewer as soon as a check on it proves so, and to the rest of the
// port where its first packet is not for a viewer of the engine.
const (
	frameHeader = 2
	// firstFrame is how long a stranger's connection may take to say what it is for.
	firstFrame = 5 * time.Second
	// streamQueue bounds the bytes that wait for a viewer: a second of 2 Mbit/s. What is more is dropped.
	streamQueue = 256 << 10
	// streamGrace is how long a viewer whose connection has ended may take to make another one.
	streamGrace = 5 * time.Second
)

// stream is a viewer's TCP connection.
type stream struct {
	engine *Engine
	conn   net.Conn
	from   netip.AddrPort
	wake   chan struct{} // there is something to write; capacity 1, never closed
	ended  chan struct{} // closed when the connection is

	viewer *Viewer // whose it is; nil before it was proved. Owned by the reader.

	mu     sync.Mutex // guards all below
	queue  []byte     // framed
	closed bool
	since  time.Time // when it was closed
}

// errQueue is about one packet.
var errQueue = errors.New("the viewer's TCP connection takes no more")

// accept takes connections until the listener is closed.
func (e *Engine) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		var temporary net.Error
		switch {
		case err == nil:
			e.work.Go(func() { e.sort(c) })
		case errors.Is(err, net.ErrClosed):
			return
		case errors.As(err, &temporary): // too many open files: let some be closed
			time.Sleep(10 * time.Millisecond)
		default:
			return
		}
	}
}

// sort finds out by its first packet whose a connection is.
func (e *Engine) sort(c net.Conn) {
	stop := context.AfterFunc(e.life, func() { c.Close() })
	defer stop()
	buffer := make([]byte, frameHeader+batch.MaxDatagram)
	_ = c.SetReadDeadline(time.Now().Add(firstFrame)) // a connection that is gone says so when it is read
	n, err := readFrame(c, buffer)
	if err != nil {
		c.Close()
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	request, err := stun.Parse(buffer[frameHeader:n])
	ours, _, _ := bytes.Cut(request.Username, []byte(":"))
	if err != nil || e.directory.named(ours) == nil {
		stop()
		if !e.rest.wanted.Load() {
			e.counters.drop(DropStranger)
			c.Close()
			return
		}
		e.restTCP.put(c, buffer[:n])
		return
	}
	s := &stream{engine: e, conn: c, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	if s.from, err = netip.ParseAddrPort(c.RemoteAddr().String()); err != nil {
		c.Close()
		return
	}
	var writer sync.WaitGroup
	writer.Go(s.write)
	s.read(buffer, n)
	s.close()
	writer.Wait()
}

// readFrame reads a packet with its frame.
func readFrame(c net.Conn, buffer []byte) (n int, err error) {
	if _, err := io.ReadFull(c, buffer[:frameHeader]); err != nil {
		return 0, err
	}
	n = frameHeader + int(binary.BigEndian.Uint16(buffer))
	if n > len(buffer) {
		return 0, errLarge
	}
	_, err = io.ReadFull(c, buffer[frameHeader:n])
	return n, err
}

// read takes packets, the first of which is in buffer already, until the connection ends or turns out to be nobody's.
func (s *stream) read(buffer []byte, n int) {
	for {
		s.take(buffer[frameHeader:n], time.Now())
		if s.viewer == nil {
			return
		}
		var err error
		if n, err = readFrame(s.conn, buffer); err != nil {
			return
		}
	}
}

// take does what a packet is for.
func (s *stream) take(packet []byte, now time.Time) {
	switch {
	case len(packet) == 0:
		s.engine.counters.drop(DropMalformed)
	case stun.Is(packet):
		if v, answer := s.engine.check(packet, path{stream: s}, now); answer != nil {
			s.viewer = v
			_ = s.put(answer) // the peer asks again
		}
	case s.viewer == nil:
		s.engine.counters.drop(DropStranger)
	default:
		s.viewer.take(packet, now)
	}
}

// put queues a packet, unless too much waits.
func (s *stream) put(packet []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.queue)+frameHeader+len(packet) > streamQueue {
		return errQueue
	}
	s.queue = append(binary.BigEndian.AppendUint16(s.queue, uint16(len(packet))), packet...)
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

// write writes what is queued until the connection ends. One that takes nothing for StallTimeout is cut, and so is the
// viewer if it is there.
func (s *stream) write() {
	var spare []byte
	for {
		select {
		case <-s.wake:
		case <-s.ended:
			return
		}
		s.mu.Lock()
		full := s.queue
		s.queue = spare[:0]
		s.mu.Unlock()
		_ = s.conn.SetWriteDeadline(time.Now().Add(s.engine.config.StallTimeout)) // writing says so if it is gone
		if _, err := s.conn.Write(full); err != nil {
			s.stall(err)
			return
		}
		spare = full
	}
}

// stall cuts a connection that takes no more.
func (s *stream) stall(err error) {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		s.engine.stalled(s)
	}
	s.close()
}

// close ends the connection.
func (s *stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed, s.queue, s.since = true, nil, time.Now()
		close(s.ended)
		s.conn.Close()
	}
}

// gone tells whether the connection has ended so long ago that its viewer will not come back.
func (s *stream) gone(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed && now.Sub(s.since) > streamGrace
}

// stalled ends the viewer that is at the other end of s.
func (e *Engine) stalled(s *stream) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for v := range e.viewers {
		if p := v.path.Load(); p != nil && p.stream == s {
			v.end(rtc.ErrStuck)
		}
	}
}

// path is a way to a peer: a route by UDP, or a TCP connection.
type path struct {
	route  *batch.Route
	stream *stream
}

// addr is where the path leads.
func (p *path) addr() netip.AddrPort {
	if p.stream != nil {
		return p.stream.from
	}
	return p.route.Addr()
}

func (p *path) String() string {
	if p.stream != nil {
		return "tcp " + p.addr().String()
	}
	return "udp " + p.addr().String()
}

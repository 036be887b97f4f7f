package engine

import (
	"bytes"
	"net"
	"os"
	"sync"
	"time"
)

// pipe is what a handshake takes for its socket: the engine puts in what came from the peer, and what is written goes
// to the peer wherever that is. It implements net.PacketConn.
type pipe struct {
	write func([]byte) error // to the peer
	local net.Addr

	writing sync.Mutex // guards hushed, and is held while a packet is written
	hushed  bool       // what is written goes nowhere

	mu       sync.Mutex // guards all below
	queue    [][]byte
	closed   bool
	deadline time.Time
	changed  chan struct{} // closed, and made anew, when any of the above changes
}

// pipeQueue is how many packets may wait: a flight of a handshake has fewer, and who sends more has to send them again.
const pipeQueue = 32

func newPipe(local net.Addr, write func([]byte) error) *pipe {
	return &pipe{local: local, write: write, changed: make(chan struct{})}
}

// change makes readers look again. The caller holds mu.
func (p *pipe) change() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// put queues a copy of a packet, unless too many wait.
func (p *pipe) put(packet []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.queue) == pipeQueue {
		return false
	}
	p.queue = append(p.queue, bytes.Clone(packet))
	p.change()
	return true
}

// ReadFrom implements net.PacketConn. The address is of no interest: there is one peer.
func (p *pipe) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		packet, wait, changed, err := p.next()
		switch {
		case err != nil:
			return 0, nil, err
		case packet != nil:
			return copy(b, packet), p.local, nil
		}
		p.await(changed, wait)
	}
}

// next takes a packet, or tells what to wait for and, where there is a deadline, how long at most.
func (p *pipe) next() (packet []byte, wait time.Duration, changed <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, 0, nil, net.ErrClosed
	}
	if !p.deadline.IsZero() {
		if wait = time.Until(p.deadline); wait <= 0 {
			return nil, 0, nil, os.ErrDeadlineExceeded
		}
	}
	if len(p.queue) > 0 {
		packet, p.queue = p.queue[0], p.queue[1:]
	}
	return packet, wait, p.changed, nil
}

func (p *pipe) await(changed <-chan struct{}, wait time.Duration) {
	if wait == 0 {
		<-changed
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
}

// WriteTo implements net.PacketConn.
func (p *pipe) WriteTo(b []byte, _ net.Addr) (int, error) {
	p.writing.Lock()
	defer p.writing.Unlock()
	if p.hushed {
		return len(b), nil
	}
	if err := p.write(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// hush lets nothing that is written through any more. What is being written meanwhile is through when it returns.
func (p *pipe) hush() {
	p.writing.Lock()
	defer p.writing.Unlock()
	p.hushed = true
}

// Close implements net.PacketConn. A second call does nothing.
func (p *pipe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed, p.queue = true, nil
		p.change()
	}
	return nil
}

// LocalAddr implements net.PacketConn.
func (p *pipe) LocalAddr() net.Addr { return p.local }

// SetDeadline implements net.PacketConn. Writing never waits.
func (p *pipe) SetDeadline(t time.Time) error { return p.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (p *pipe) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deadline = t
	p.change()
	return nil
}

// SetWriteDeadline implements net.PacketConn.
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }

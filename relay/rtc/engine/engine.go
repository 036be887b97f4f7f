package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"banyan/relay/rtc"
	"banyan/relay/rtc/engine/batch"
)

// Engine serves viewers through one port.
type Engine struct {
	config       Config
	socket       *batch.Socket
	rest         *rest
	tcp          net.Listener     // nil without ICE-TCP
	restTCP      *restListener    // the same
	hosts        []netip.AddrPort // told to peers as candidates
	certificates certificates
	directory    *directory
	shards       []*shard
	counters     counters

	work     sync.WaitGroup  // of the engine's own goroutines
	sessions sync.WaitGroup  // one per viewer; Add only with mu held and closed false
	life     context.Context // ends with the engine, when there are no more sessions
	end      context.CancelFunc

	mu      sync.Mutex // guards all below
	viewers map[*Viewer]struct{}
	next    int // shard
	closed  bool
}

// New opens the socket and begins to serve. Call Close when done.
func New(config Config) (*Engine, error) {
	e := &Engine{
		config: config.withDefaults(), directory: newDirectory(), viewers: map[*Viewer]struct{}{},
	}
	e.life, e.end = context.WithCancel(context.Background())
	port, err := rtc.Listen(e.config.Addr, !e.config.NoTCP)
	if err != nil {
		return nil, err
	}
	if e.socket, err = batch.NewSocket(port.UDP.(*net.UDPConn), e.config.Socket); err != nil { // as Listen makes it
		return nil, errors.Join(err, port.Close())
	}
	e.rest = newRest(e.socket)
	if port.TCP != nil {
		e.tcp, e.restTCP = netutil.LimitListener(port.TCP, connections), newRestListener(port.TCP.Addr())
	}
	if err := e.open(); err != nil {
		e.end()
		_ = e.closePort() // why it came to this says more
		return nil, err
	}
	return e, nil
}

// connections bounds those by TCP, of the engine and of the rest.
const connections = 8192

// closePort closes the sockets, and what shares them.
func (e *Engine) closePort() error {
	_ = e.rest.Close() // it cannot fail
	err := e.socket.Close()
	if e.tcp != nil {
		_ = e.restTCP.Close() // it cannot fail
		err = errors.Join(err, e.tcp.Close())
	}
	return err
}

// open makes all that stands on the socket, and starts it when nothing can fail any more.
func (e *Engine) open() error {
	var err error
	if e.hosts, err = hosts(e.Addr(), e.config.PublicIPs, e.config.Loopback); err != nil {
		return err
	}
	if _, err := e.certificates.at(time.Now()); err != nil {
		return err
	}
	if e.config.Metrics != nil {
		if err := e.config.Metrics.Register(collector{e}); err != nil {
			return fmt.Errorf("register the metrics of the WebRTC engine: %w", err)
		}
	}
	for range e.config.Shards {
		e.shards = append(e.shards, newShard(e))
	}
	for _, s := range e.shards {
		e.work.Go(s.run)
	}
	e.work.Go(func() { e.receive(e.socket.Receiver()) })
	e.work.Go(e.tend)
	if e.tcp != nil {
		e.work.Go(func() { e.accept(e.tcp) })
	}
	return nil
}

// Addr is where the engine listens.
func (e *Engine) Addr() netip.AddrPort {
	addr := e.socket.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
}

// Sessions is how many there are.
func (e *Engine) Sessions() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.viewers)
}

// adopt makes the engine answer for v until it is forgotten. Close waits for its sessions.Done.
func (e *Engine) adopt(v *Viewer) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return rtc.ErrClosed
	}
	v.shard = e.shards[e.next]
	e.next = (e.next + 1) % len(e.shards)
	e.viewers[v] = struct{}{}
	e.sessions.Add(1)
	return nil
}

func (e *Engine) forget(v *Viewer) {
	e.directory.forget(v)
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.viewers, v)
}

// tend ends sessions whose time is up, several times a second.
func (e *Engine) tend() {
	ticker := time.NewTicker(LookInterval)
	defer ticker.Stop()
	for {
		select {
		case <-e.life.Done():
			return
		case now := <-ticker.C:
			e.mu.Lock()
			for v := range e.viewers {
				v.tend(now)
			}
			e.mu.Unlock()
		}
	}
}

// Close ends all sessions, so that peers learn of it by a DTLS alert, then all else, and waits for both.
func (e *Engine) Close() error {
	e.mu.Lock()
	again := e.closed
	e.closed = true
	for v := range e.viewers {
		v.end(rtc.ErrClosed)
	}
	e.mu.Unlock()
	e.sessions.Wait()
	if again {
		return nil
	}
	e.end()
	for _, s := range e.shards { // nobody asks for anything any more
		close(s.stop)
	}
	err := e.closePort() // ends the readers
	e.work.Wait()
	return err
}

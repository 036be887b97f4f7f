package link

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Peer is another node that this one may take tracks from. It is kept connected while somebody holds it, so that a
// second parent is warm: a subscription is then one round trip away. Methods are safe for concurrent use.
type Peer struct {
	node    *Node
	key     peerKey
	cancel  context.CancelFunc
	holders int           // guarded by node.mu
	ended   chan struct{} // closed when run has returned

	mu      sync.Mutex // guards the fields below
	link    *uplink    // nil while there is none
	cause   error      // why it is down; nil while it is up or has not been tried
	down    chan struct{}
	changed chan struct{} // closed and replaced when link or cause change
}

// How long to wait before a parent is dialled again: doubled each time, and jittered, so that the children of a node
// that comes back do not all come at once.
const (
	backoffFirst = 50 * time.Millisecond
	backoffMost  = 2 * time.Second
)

// Peer holds the node of that name at that address, and keeps it connected until each holder has called Close. The
// same name and address give the same Peer.
func (n *Node) Peer(name string, addr netip.AddrPort) *Peer {
	key := peerKey{name, addr}
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.peers[key]; p != nil {
		p.holders++
		return p
	}
	ctx, cancel := context.WithCancel(n.life)
	p := &Peer{
		node: n, key: key, cancel: cancel, ended: make(chan struct{}), holders: 1,
		down: make(chan struct{}), changed: make(chan struct{}),
	}
	if n.closed {
		cancel()
		p.set(nil, ErrClosed)
		close(p.ended)
		return p
	}
	n.peers[key] = p
	n.wg.Add(1)
	go func() {
		defer n.wg.Done()
		defer close(p.ended)
		p.run(ctx)
		p.set(nil, ErrClosed)
	}()
	return p
}

// Close lets go. The last holder's Close ends the connection and waits until it has.
func (p *Peer) Close() {
	n := p.node
	n.mu.Lock()
	p.holders--
	last := p.holders == 0
	if last && n.peers[p.key] == p {
		delete(n.peers, p.key)
	}
	n.mu.Unlock()
	if last {
		p.cancel()
		<-p.ended
	}
}

// Name is the name of the node.
func (p *Peer) Name() string { return p.key.name }

// Addr is where the node is reached.
func (p *Peer) Addr() netip.AddrPort { return p.key.addr }

// Down returns a channel that is closed while the peer is known to be dead, unreachable or going away. When it is
// back, Down returns a new one.
func (p *Peer) Down() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.down
}

// Wait returns when the peer is connected, or with the context's error.
func (p *Peer) Wait(ctx context.Context) error {
	for {
		p.mu.Lock()
		link, cause, changed := p.link, p.cause, p.changed
		p.mu.Unlock()
		if link != nil {
			return nil
		}
		if errors.Is(cause, ErrClosed) {
			return cause
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// RTT is the smoothed round trip to the peer, zero while it is not connected.
func (p *Peer) RTT() time.Duration {
	if link := p.current(); link != nil {
		return time.Duration(link.rtt.Load())
	}
	return 0
}

// GoingAway tells whether the peer is connected and about to stop.
func (p *Peer) GoingAway() bool {
	link := p.current()
	return link != nil && link.leaving()
}

func (p *Peer) current() *uplink {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.link
}

// set changes the state: connected by link, or down because of cause.
func (p *Peer) set(link *uplink, cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.link, p.cause = link, cause
	if link == nil {
		p.sinkLocked()
	} else if isClosed(p.down) {
		p.down = make(chan struct{})
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// sinkLocked closes down, once.
func (p *Peer) sinkLocked() {
	if !isClosed(p.down) {
		close(p.down)
	}
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// goingAway notes that the peer said so.
func (p *Peer) goingAway() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sinkLocked()
}

// run keeps the peer connected until ctx ends.
func (p *Peer) run(ctx context.Context) {
	logger := p.node.config.Logger.With("parent", p.key.name, "addr", p.key.addr)
	wait, quiet := backoffFirst, false
	for ctx.Err() == nil {
		link, err := p.dial(ctx)
		if err == nil {
			logger.Info("link to a parent is up")
			began := time.Now()
			err = p.live(ctx, link)
			p.node.metrics.ended(sideChild, err)
			quiet = false
			if time.Since(began) > backoffMost {
				wait = backoffFirst
			}
		}
		if ctx.Err() != nil {
			return
		}
		p.set(nil, fmt.Errorf("node %s: %w", p.key.name, asSilent(err)))
		if !quiet { // once per outage
			logger.Warn("link to a parent is down", "cause", err)
			quiet = true
		}
		select {
		case <-time.After(wait/2 + rand.N(wait)):
		case <-ctx.Done():
		}
		wait = min(wait*2, backoffMost)
	}
}

// live runs a link while it lasts.
func (p *Peer) live(ctx context.Context, link *uplink) error {
	p.node.metrics.connected.Add(1)
	defer p.node.metrics.connected.Add(-1)
	p.set(link, nil)
	return link.live(ctx)
}

// asSilent gives a failure to reach a node, or to keep it, an identity that callers know.
func asSilent(err error) error {
	for _, known := range []error{ErrSilent, ErrGoingAway, ErrViolation, ErrClosed} {
		if errors.Is(err, known) {
			return err
		}
	}
	if isViolation(err) {
		return fmt.Errorf("%w: %w", ErrViolation, err)
	}
	return fmt.Errorf("%w: %w", ErrSilent, err)
}

// dial makes one attempt to connect.
func (p *Peer) dial(ctx context.Context) (*uplink, error) {
	n := p.node
	ctx, cancel := context.WithTimeout(ctx, n.limits.Dial)
	defer cancel()
	config := quicConfig()
	config.MaxIncomingStreams, config.MaxIncomingUniStreams = -1, maxStreams
	q, err := n.transport.Dial(ctx, net.UDPAddrFromAddrPort(p.key.addr), n.config.Identity.config(func(error) {}), config)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	fail := func(err error) (*uplink, error) {
		c := &conn{quic: q}
		c.close(err)
		return nil, c.reason(err)
	}
	name, err := n.config.Identity.verify(q.ConnectionState().TLS)
	if err != nil {
		return fail(err)
	}
	if name != p.key.name {
		return fail(fmt.Errorf("%w: at its address is node %q", errRefused, name))
	}
	control, err := q.OpenStreamSync(ctx)
	if err != nil {
		return fail(err)
	}
	link := newUplink(p, newConn(n, q, control, name))
	if err := link.greet(); err != nil {
		return fail(err)
	}
	return link, nil
}

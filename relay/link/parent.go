package link

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/quic-go/quic-go"
	"golang.org/x/time/rate"
)

// What a child may ask for in how short a time: a node that comes up takes all its tracks at once, and a view of the
// cluster that changes moves some of them.
const (
	subscribeRate  = 500 // a second
	subscribeBurst = 4096
)

var (
	errRefused = errors.New("refused")
	errFlood   = errors.New("it subscribes without end")
)

// downlink is a link to a child.
type downlink struct {
	*conn
	allowed *rate.Limiter  // owned by the reader of control
	curious *rate.Limiter  // the same, for questions
	telling atomic.Bool    // a question is being answered
	last    uint64         // newest sub; owned by the reader of control
	wg      sync.WaitGroup // one per serving; Add only by the reader of control

	mu   sync.Mutex // guards subs
	subs map[uint64]*serving
}

// serve is the life of a child's connection.
func (n *Node) serve(q *quic.Conn) {
	child, err := n.greetChild(q)
	if err != nil {
		n.metrics.refused(err)
		n.config.Logger.Warn("link from a child refused", "addr", q.RemoteAddr(), "cause", err)
		return
	}
	log := n.config.Logger.With("child", child.peer, "addr", q.RemoteAddr())
	log.Info("link from a child is up")
	err = child.serve(n.life)
	n.forget(child)
	n.metrics.ended(sideParent, err)
	log.Info("link from a child ended", "cause", err)
}

// greetChild takes a connection over, or closes it.
func (n *Node) greetChild(q *quic.Conn) (*downlink, error) {
	fail := func(err error) (*downlink, error) {
		(&conn{quic: q}).close(err)
		return nil, err
	}
	peer, err := n.config.Identity.verify(q.ConnectionState().TLS)
	if err != nil {
		return fail(fmt.Errorf("%w: %w", errRefused, err))
	}
	if peer == n.config.Node {
		return fail(fmt.Errorf("%w: two nodes are called %q; give each its own node.name", errRefused, peer))
	}
	ctx, cancel := context.WithTimeout(n.life, handshakeTimeout)
	defer cancel()
	control, err := q.AcceptStream(ctx)
	if err != nil {
		return fail(fmt.Errorf("it opened no control stream: %w", err))
	}
	child := &downlink{
		conn: newConn(n, q, control, peer), allowed: rate.NewLimiter(subscribeRate, subscribeBurst),
		curious: rate.NewLimiter(askRate, askBurst), subs: map[uint64]*serving{},
	}
	if err := child.greet(); err != nil {
		return fail(err)
	}
	n.mu.Lock()
	n.children[child] = struct{}{}
	leaving := n.leaving
	n.mu.Unlock()
	if leaving {
		_ = child.send(frameGoingAway, nil) // fails only if the link is down, which shows soon
	}
	return child, nil
}

func (n *Node) forget(child *downlink) {
	n.mu.Lock()
	delete(n.children, child)
	n.mu.Unlock()
}

func (d *downlink) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer d.wg.Wait()
	defer cancel()
	return d.run(ctx, func(kind byte, body []byte) error { return d.handle(ctx, kind, body) })
}

// handle answers a frame of the child. Its errors end the link.
func (d *downlink) handle(ctx context.Context, kind byte, body []byte) (err error) {
	defer d.node.survive(&err, "a frame of a child")
	switch kind {
	case frameSubscribe:
		s, err := decodeSubscribe(body)
		if err != nil {
			return err
		}
		return d.subscribe(ctx, s)
	case frameUnsubscribe:
		sub, err := decodeNumber(body)
		if err != nil {
			return err
		}
		if s := d.find(sub); s != nil {
			s.cancel()
		}
		return nil
	case frameKeyframe:
		sub, err := decodeNumber(body)
		if err != nil {
			return err
		}
		if s := d.find(sub); s != nil {
			s.requestKeyframe()
		}
		return nil
	case frameAsk:
		question, err := decodeNumber(body)
		if err != nil {
			return err
		}
		d.tell(ctx, question)
		return nil
	case frameHello, frameAccepted, frameRefused, frameEnd, framePath, frameGoingAway:
		return malformed("a child sent a frame of type %#x, which is a parent's", kind)
	}
	return d.unknown(kind)
}

func (d *downlink) find(sub uint64) *serving {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.subs[sub]
}

// subscribe starts to serve a track, or refuses it at once.
func (d *downlink) subscribe(ctx context.Context, s subscribe) error {
	if s.sub <= d.last {
		return malformed("subscription %d after %d", s.sub, d.last)
	}
	d.last = s.sub
	if !d.allowed.Allow() {
		return malformed("%v", errFlood)
	}
	below := append([]string{d.peer}, s.below...)
	d.mu.Lock()
	full := len(d.subs) >= d.node.limits.Subscriptions
	d.mu.Unlock()
	switch {
	case slices.Contains(below, d.node.config.Node) || len(below) > MaxDepth:
		return d.refuse(s.sub, ErrLoop)
	case full:
		return d.refuse(s.sub, ErrFull)
	case d.node.config.Source == nil:
		return d.refuse(s.sub, ErrNoTrack)
	}
	ctx, cancel := context.WithCancel(ctx)
	serving := &serving{link: d, sub: s.sub, id: s.id, wish: Wish{From: s.from, After: s.after, Below: below}, whole: s.whole, cancel: cancel}
	d.mu.Lock()
	d.subs[s.sub] = serving
	d.mu.Unlock()
	d.wg.Add(1)
	d.node.metrics.served.Add(1)
	go func() {
		defer d.wg.Done()
		defer d.node.metrics.served.Add(-1)
		defer cancel()
		serving.run(ctx)
		d.mu.Lock()
		delete(d.subs, s.sub)
		d.mu.Unlock()
	}()
	return nil
}

func (d *downlink) refuse(sub uint64, err error) error {
	d.node.metrics.declined(err)
	c, text := codeOf(err)
	return d.send(frameRefused, verdict{sub: sub, code: c, text: text}.append(nil))
}

// open asks the source for a track. A source that panics costs one subscription.
func (d *downlink) open(ctx context.Context, s *serving) (track Track, err error) {
	defer d.node.survive(&err, "opening a track for a child")
	return d.node.config.Source.Open(ctx, s.id, s.wish)
}

package link

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/sync/errgroup"
)

// conn is what both ends of a link do alike: control frames, heartbeats, and noticing silence.
type conn struct {
	node    *Node
	peer    string // the other node, by its certificate
	quic    *quic.Conn
	control *quic.Stream
	in      *bufio.Reader // of control; owned by readControl
	heard   atomic.Int64  // when the peer last spoke, in nanoseconds of the node's life
	rtt     atomic.Int64  // nanoseconds, smoothed; renewed with each heartbeat
	minRTT  atomic.Int64
	version uint64                // of the protocol, the newest that both know; set by greet
	cause   atomic.Pointer[error] // why this side closed the connection, if it did

	out    sync.Mutex // guards writing to control
	buffer []byte
}

func newConn(n *Node, q *quic.Conn, control *quic.Stream, peer string) *conn {
	c := &conn{node: n, peer: peer, quic: q, control: control, in: bufio.NewReaderSize(control, 4<<10)}
	control.SetPriority(0, false) // heartbeats before media
	c.hear(time.Now())
	return c
}

func (c *conn) hear(now time.Time) { c.heard.Store(int64(now.Sub(c.node.start))) }

// send writes a control frame. A peer that does not read for as long as Silence allows is no peer.
func (c *conn) send(kind byte, body []byte) error {
	c.out.Lock()
	defer c.out.Unlock()
	c.buffer = appendFrame(c.buffer[:0], kind, body)
	_ = c.control.SetWriteDeadline(time.Now().Add(c.node.limits.Silence))
	if _, err := c.control.Write(c.buffer); err != nil {
		return fmt.Errorf("%w: it does not take what we send: %w", ErrSilent, err)
	}
	return nil
}

// greet exchanges HELLO and settles on a version, within the time of a handshake.
func (c *conn) greet() error {
	err := c.send(frameHello, hello{leastVersion, lastVersion, c.node.config.Node}.append(nil))
	if err != nil {
		return err
	}
	_ = c.control.SetReadDeadline(time.Now().Add(handshakeTimeout))
	defer func() { _ = c.control.SetReadDeadline(time.Time{}) }()
	var scratch []byte
	kind, body, err := readFrame(c.in, &scratch)
	if err != nil {
		return err
	}
	if kind != frameHello {
		return malformed("it began with a frame of type %#x", kind)
	}
	h, err := decodeHello(body)
	if err != nil {
		return err
	}
	if h.node != c.peer {
		return malformed("it calls itself %q, and %q by its certificate", h.node, c.peer)
	}
	if h.least > lastVersion || h.newest < leastVersion {
		return &versionError{h.least, h.newest}
	}
	c.version = min(h.newest, lastVersion)
	return nil
}

type versionError struct{ least, newest uint64 }

func (e *versionError) Error() string {
	return fmt.Sprintf("it speaks versions %d to %d of the link protocol, this node %d to %d: upgrade nodes one version at a time",
		e.least, e.newest, leastVersion, lastVersion)
}

// run reads control frames, beats and listens until the link ends, together with what the caller adds to its group.
// It closes the connection and says why it ended.
func (c *conn) run(ctx context.Context, handle func(kind byte, body []byte) error, more ...func(context.Context) error) error {
	group, ctx := errgroup.WithContext(ctx)
	// Whoever of them ends first ends the connection, which ends the reads of the others.
	defer context.AfterFunc(ctx, func() { c.close(context.Cause(ctx)) })()
	group.Go(func() error { return c.readControl(handle) })
	group.Go(func() error { return c.beat(ctx) })
	for _, f := range more {
		group.Go(func() error { return f(ctx) })
	}
	err := group.Wait()
	c.close(err)
	return c.reason(err)
}

// reason prefers why the connection was closed, by the peer or by us, over how the end was noticed.
func (c *conn) reason(err error) error {
	var app *quic.ApplicationError
	if cause := context.Cause(c.quic.Context()); errors.As(cause, &app) && app.Remote {
		return remoteClose(app)
	}
	if cause := c.cause.Load(); cause != nil {
		return *cause
	}
	return err
}

// remoteClose says why the peer closed the connection.
func remoteClose(app *quic.ApplicationError) error {
	if app.ErrorCode == closeNormal {
		return ErrGoingAway
	}
	return &remoteError{node: "on the other side", text: app.ErrorMessage}
}

// close closes the connection with the code that fits err, nil and the end of a context being the normal end.
func (c *conn) close(err error) {
	if err != nil {
		c.cause.CompareAndSwap(nil, &err)
	}
	code, text := quic.ApplicationErrorCode(closeNormal), ""
	var version *versionError
	switch {
	case errors.As(err, &version):
		code, text = closeVersion, err.Error()
	case isViolation(err):
		code, text = closeViolation, err.Error()
	case errors.Is(err, ErrSilent):
		code = closeSilent
	case errors.Is(err, errRefused):
		code, text = closeRefused, err.Error()
	}
	_ = c.quic.CloseWithError(code, text[:min(len(text), maxText)])
}

func (c *conn) readControl(handle func(kind byte, body []byte) error) error {
	var scratch []byte
	for {
		kind, body, err := readFrame(c.in, &scratch)
		if err != nil {
			return err
		}
		c.hear(time.Now())
		if kind == frameHeartbeat {
			continue
		}
		if err := handle(kind, body); err != nil {
			return err
		}
		if cap(scratch) > 8<<10 { // a long frame of a next version, once
			scratch = nil
		}
	}
}

// unknown is what to do with a frame of a type that this version does not have.
func (c *conn) unknown(kind byte) error {
	if kind&critical != 0 {
		return malformed("a frame of type %#x, which it should know that we do not", kind)
	}
	c.node.metrics.skipped.Inc()
	return nil
}

// beat speaks every Heartbeat, and ends when the peer has not spoken for Silence.
func (c *conn) beat(ctx context.Context) error {
	limits := c.node.limits
	step := limits.Heartbeat / 2 // so that silence is noticed soon after
	tick := time.NewTicker(step)
	defer tick.Stop()
	last, beats := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.quic.Context().Done():
			return context.Cause(c.quic.Context())
		case <-tick.C:
		}
		now := time.Now()
		if now.Sub(last) > limits.Silence/2 {
			// We were stopped, not the peer: what it said meanwhile still lies in the socket.
			c.hear(now)
		}
		last = now
		if silent := now.Sub(c.node.start) - time.Duration(c.heard.Load()); silent > limits.Silence {
			return fmt.Errorf("%w: nothing came for %v", ErrSilent, silent.Round(time.Millisecond))
		}
		if beats++; beats%2 == 0 {
			stats := c.quic.ConnectionStats()
			c.rtt.Store(int64(stats.SmoothedRTT))
			c.minRTT.Store(int64(stats.MinRTT))
			if err := c.send(frameHeartbeat, nil); err != nil {
				return err
			}
		}
	}
}

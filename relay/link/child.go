package link

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"banyan/relay/media"
)

// uplink is a link to a parent.
type uplink struct {
	*conn
	holder *Peer
	away   chan struct{}  // closed when the parent says that it is going away
	wg     sync.WaitGroup // one per group under way; Add only by the acceptor

	mu    sync.Mutex // guards the fields below
	last  uint64     // newest subscription
	subs  map[uint64]*subscription
	cause error // why the link has ended
	gone  bool
	open  int // groups under way

	roomy chan struct{} // capacity 1: rung when there may be room for another group

	questions questions

	clock sync.Mutex // guards hop
	hop   hop
}

func newUplink(holder *Peer, c *conn) *uplink {
	return &uplink{conn: c, holder: holder, away: make(chan struct{}), subs: map[uint64]*subscription{}, roomy: make(chan struct{}, 1)}
}

func (u *uplink) leaving() bool { return isClosed(u.away) }

// live runs the link until it ends, and ends its subscriptions.
func (u *uplink) live(ctx context.Context) error {
	err := u.run(ctx, u.handle, u.acceptGroups)
	if u.leaving() && !isViolation(err) {
		err = fmt.Errorf("%w: %w", ErrGoingAway, err)
	}
	u.wg.Wait()
	// The peer is down before its subscriptions end, so that whoever follows again does not find it connected.
	u.holder.set(nil, fmt.Errorf("node %s: %w", u.peer, asSilent(err)))
	u.mu.Lock()
	u.gone, u.cause = true, asSilent(err)
	subs := u.subs
	u.subs = nil
	u.mu.Unlock()
	for _, s := range subs {
		s.end(u.cause)
	}
	return err
}

// handle takes a frame of the parent. Its errors end the link.
func (u *uplink) handle(kind byte, body []byte) (err error) {
	defer u.node.survive(&err, "a frame of a parent")
	switch kind {
	case frameAccepted:
		a, err := decodeAccepted(body)
		if err != nil {
			return err
		}
		return u.withSub(a.sub, func(s *subscription) { s.setPath(a.path) })
	case framePath:
		p, err := decodePath(body)
		if err != nil {
			return err
		}
		return u.withSub(p.sub, func(s *subscription) { s.setPath(p.path) })
	case frameRefused:
		v, err := decodeRefused(body)
		if err != nil {
			return err
		}
		return u.withSub(v.sub, func(s *subscription) { s.end(errorOf(u.peer, v.code, v.text)) })
	case frameEnd:
		v, err := decodeEnd(body)
		if err != nil {
			return err
		}
		return u.withSub(v.sub, func(s *subscription) { s.endAfter(v.groups, errorOf(u.peer, v.code, v.text)) })
	case frameGoingAway:
		if !u.leaving() {
			close(u.away)
			u.holder.goingAway()
		}
		return nil
	case frameHello, frameSubscribe, frameUnsubscribe, frameAsk:
		return malformed("a parent sent a frame of type %#x, which is a child's", kind)
	}
	return u.unknown(kind)
}

// find returns nil for a subscription that has ended, and an error for one that there never was.
func (u *uplink) find(sub uint64) (*subscription, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if sub == 0 || sub > u.last {
		return nil, malformed("it speaks of subscription %d, and %d are made", sub, u.last)
	}
	return u.subs[sub], nil
}

func (u *uplink) withSub(sub uint64, do func(*subscription)) error {
	s, err := u.find(sub)
	if s != nil {
		do(s)
	}
	return err
}

// Groups that are under way at once: of a track one, and those which lost datagrams hold up. With each goes a goroutine and
// a buffer of 16 kB. What a parent opens beyond that waits in the connection, where flow control bounds it.
const (
	groupsEach  = 8 // of a subscription
	groupsSpare = 32
)

// room waits until another group may be read. The groups before it come first, in whatever order they end: streams
// are accepted as they were opened.
func (u *uplink) room(ctx context.Context) error {
	for {
		u.mu.Lock()
		free := u.open < groupsSpare+groupsEach*len(u.subs)
		u.mu.Unlock()
		if free {
			return nil
		}
		select {
		case <-u.roomy:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// count notes that a group has begun, or ended.
func (u *uplink) count(n int) {
	u.mu.Lock()
	u.open += n
	u.mu.Unlock()
	u.ringRoom()
}

func (u *uplink) ringRoom() {
	select {
	case u.roomy <- struct{}{}:
	default:
	}
}

// acceptGroups starts a goroutine for each group, of which there are not many at once (room).
func (u *uplink) acceptGroups(ctx context.Context) error {
	for {
		if err := u.room(ctx); err != nil {
			return err
		}
		stream, err := u.quic.AcceptUniStream(ctx)
		if err != nil {
			return err
		}
		u.count(1)
		u.wg.Add(1)
		go func() {
			defer u.wg.Done()
			defer u.count(-1)
			if err := u.readGroup(ctx, stream); err != nil {
				u.close(err) // ends the acceptor, and all others
			}
		}()
	}
}

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 16<<10) }}

// readGroup reads a group and writes it when its turn has come. Its errors end the link.
func (u *uplink) readGroup(ctx context.Context, stream *quic.ReceiveStream) (err error) {
	defer u.node.survive(&err, "a group of a parent")
	r := readers.Get().(*bufio.Reader)
	r.Reset(stream)
	defer func() { r.Reset(nil); readers.Put(r) }()

	// A stream without a header is not worth a goroutine for long. What comes after that is up to attach.
	_ = stream.SetReadDeadline(time.Now().Add(idleTimeout))
	kind, err := r.ReadByte()
	if err != nil {
		stream.CancelRead(streamUnwanted)
		return u.cut(err)
	}
	if kind == streamState {
		return u.readState(stream, r)
	}
	if kind != streamGroup && kind != streamRepair {
		u.node.metrics.skipped.Inc()
		stream.CancelRead(streamUnknown)
		return nil
	}
	h, err := readHeader(r)
	if err != nil {
		stream.CancelRead(streamUnwanted)
		return u.cut(err)
	}
	s, err := u.find(h.sub)
	if err != nil {
		return err
	}
	if s == nil {
		u.node.metrics.strays.Inc()
		stream.CancelRead(streamUnwanted)
		return nil
	}
	if kind == streamGroup {
		if err := s.admit(&h); err != nil {
			return err
		}
	}
	if !s.attach(stream, h.number, kind == streamRepair, time.Now()) {
		return nil
	}
	defer s.detach(stream)
	if kind == streamRepair {
		return u.copyGroup(s, &h, r, stream, true)
	}
	u.node.metrics.gotGroups.Inc()
	if s.turns.wait(ctx, h.number, u.node.limits.Patience, s.ended) {
		u.node.metrics.impatient.Inc()
	}
	defer s.turns.end(h.number)
	return u.copyGroup(s, &h, r, stream, false)
}

// copyGroup writes the packets of a group as they come.
func (u *uplink) copyGroup(s *subscription, h *header, r *bufio.Reader, stream *quic.ReceiveStream, repair bool) error {
	state := newGroupState(h)
	var scratch []byte
	for {
		rec, err := state.readRecord(r, &scratch)
		if err == io.EOF { //nolint:errorlint // the end of the stream, between two packets
			return nil
		}
		if err != nil && isClosed(s.ended) {
			return nil // nobody wants the rest
		}
		if err != nil {
			stream.CancelRead(streamUnwanted) // where it was given up: else the parent could fill the connection's window with the rest
			return u.cut(err)
		}
		now := time.Now()
		u.hear(now)
		delay := u.delay(rec.sent, now)
		if rec.age >= 0 {
			rec.packet.Arrived = media.TimeOf(now).Add(-delay - time.Duration(rec.age)*time.Microsecond)
		}
		m := u.node.metrics
		m.gotPackets.Inc()
		m.gotBytes.Add(float64(len(rec.packet.Payload)))
		if !repair {
			m.hopped(delay, rec.packet.Arrived, now)
		}
		if !s.write(&h.params, rec.packet, repair) {
			stream.CancelRead(streamUnwanted)
			return nil
		}
	}
}

func (u *uplink) delay(sent int64, now time.Time) time.Duration {
	u.clock.Lock()
	defer u.clock.Unlock()
	return u.hop.delay(sent, u.node.clock(now), time.Duration(u.minRTT.Load()))
}

// cut tells a group that was cut short, which is nobody's fault, from one that is not well-formed.
func (u *uplink) cut(err error) error {
	if errors.Is(err, errMalformed) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return err
	}
	u.node.metrics.cutGroups.Inc()
	return nil
}

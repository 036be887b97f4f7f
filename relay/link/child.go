package link

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"banyan/relay/log"
	"banyan/relay/media"
)

// Sink is where a child puts a track. It writes to one log; embedding its *log.Writer gives all but SetPath.
// Calls come one at a time.
type Sink interface {
	// Log is the log that the sink writes to.
	Log() *log.Log
	// Begin starts the epoch of p.
	Begin(p media.Params) error
	// Write publishes p, whose payload is only lent. Late packets fill holes. log.ErrLate and log.ErrDuplicate are
	// counted; any other error ends the subscription.
	Write(p media.Packet) error
	// SetPath tells the nodes from the track's birthplace to this one, both included, at first and when it changes.
	SetPath(path []string)
	// KeyframeRequests delivers the wishes of readers, which go to the parent.
	KeyframeRequests() <-chan struct{}
}

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

	clock sync.Mutex // guards hop
	hop   hop
}

func newUplink(holder *Peer, c *conn) *uplink {
	return &uplink{conn: c, holder: holder, away: make(chan struct{}), subs: map[uint64]*subscription{}}
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
	case frameHello, frameSubscribe, frameUnsubscribe:
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

// acceptGroups starts a goroutine for each group. Their number is bounded by maxStreams.
func (u *uplink) acceptGroups(ctx context.Context) error {
	for {
		stream, err := u.quic.AcceptUniStream(ctx)
		if err != nil {
			return err
		}
		u.wg.Add(1)
		go func() {
			defer u.wg.Done()
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

	// A stream without a header is not worth a goroutine for long.
	_ = stream.SetReadDeadline(time.Now().Add(idleTimeout))
	kind, err := r.ReadByte()
	if err != nil {
		stream.CancelRead(streamUnwanted)
		return u.cut(err)
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
	_ = stream.SetReadDeadline(time.Time{})
	s, err := u.find(h.sub)
	if err != nil {
		return err
	}
	if s == nil {
		u.node.metrics.strays.Inc()
		stream.CancelRead(streamUnwanted)
		return nil
	}
	if kind == streamRepair {
		return u.copyGroup(s, &h, r, stream, true)
	}
	if err := s.admit(&h); err != nil {
		return err
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
		if err != nil {
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
			m.hopped(delay)
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

// subscription is a track that is taken from a parent.
type subscription struct {
	link  *uplink
	id    uint64
	sink  Sink
	turns *turns
	ended chan struct{} // closed when cause is set
	final atomic.Pointer[ending]
	last  chan struct{} // closed when final is set

	mu    sync.Mutex // guards the fields below, and the sink's Write
	over  bool       // nothing more is written
	cause error

	order  sync.Mutex // guards the newest group that was seen
	seen   bool
	newest header
}

// ending is an END that waits for the groups before it.
type ending struct {
	groups uint64
	cause  error
}

// Follow takes a track from the peer, from the first offset that the sink lacks (ResumeOffset), or, where from is 0,
// from where a new reader begins. A sink that is empty gets what precedes from as well, beginning at a keyframe, as others
// may want to begin there. It writes to w until the track ends there, ctx ends, or the peer can no
// longer be relied on, and says why; it never returns nil, and never writes after it has returned. below are
// the nodes that get the track through this one.
//
// A peer that is not connected, and has been tried, fails at once with ErrSilent; Down tells beforehand. When the peer
// says that it goes away, Follow ends with ErrGoingAway although the peer goes on to serve: where there is no
// other parent, call it again, and it will stay.
func (p *Peer) Follow(ctx context.Context, id media.TrackID, from int64, below []string, w Sink) error {
	link, err := p.connected(ctx)
	if err == nil {
		err = link.follow(ctx, id, from, below, w)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("take %s from node %s: %w", id, p.key.name, err)
}

// connected waits for the first attempt to connect, and no longer.
func (p *Peer) connected(ctx context.Context) (*uplink, error) {
	for {
		p.mu.Lock()
		link, cause, changed := p.link, p.cause, p.changed
		p.mu.Unlock()
		if link != nil || cause != nil {
			return link, cause
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (u *uplink) follow(ctx context.Context, id media.TrackID, from int64, below []string, w Sink) error {
	if len(below)+1 > MaxDepth || slices.Contains(below, u.peer) {
		return ErrLoop
	}
	away := u.away
	if u.leaving() {
		away = nil // the caller knows, and has nobody better
	}
	s, err := u.subscribe(id, from, below, w)
	if err != nil {
		return err
	}
	u.node.metrics.followed.Add(1)
	defer u.node.metrics.followed.Add(-1)
	defer u.unsubscribe(s)
	return s.run(ctx, away)
}

func (u *uplink) subscribe(id media.TrackID, from int64, below []string, w Sink) (*subscription, error) {
	u.mu.Lock()
	defer u.mu.Unlock() // over send, so that numbers go out in their order
	if u.gone {
		return nil, u.cause
	}
	u.last++
	s := &subscription{
		link: u, id: u.last, sink: w, turns: newTurns(), ended: make(chan struct{}), last: make(chan struct{}),
	}
	u.subs[s.id] = s
	if err := u.send(frameSubscribe, subscribe{s.id, id, max(from, 0), below, from > 0 && empty(w.Log())}.append(nil)); err != nil {
		delete(u.subs, s.id)
		return nil, err
	}
	return s, nil
}

func empty(l *log.Log) bool { return l.Head() == l.Tail() }

// unsubscribe forgets s. Groups of it that are still under way are not read.
func (u *uplink) unsubscribe(s *subscription) {
	s.end(context.Canceled)
	u.mu.Lock()
	_, held := u.subs[s.id]
	delete(u.subs, s.id)
	u.mu.Unlock()
	if held {
		_ = u.send(frameUnsubscribe, appendSub(s.id)) // fails only if the link is down
	}
}

// run waits for the end of s, and passes wishes for keyframes on meanwhile.
func (s *subscription) run(ctx context.Context, away <-chan struct{}) error {
	for {
		select {
		case <-s.sink.KeyframeRequests():
			if err := s.link.send(frameKeyframe, appendSub(s.id)); err != nil {
				return err
			}
		case <-s.last:
			return s.rest(ctx)
		case <-away:
			return ErrGoingAway
		case <-s.ended:
			return s.cause
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// rest waits for the groups that the parent began before it ended the subscription: END may overtake them.
func (s *subscription) rest(ctx context.Context) error {
	const patience = time.Second
	final := s.final.Load()
	s.turns.wait(ctx, final.groups, patience, s.ended)
	return final.cause
}

func (s *subscription) endAfter(groups uint64, cause error) {
	if s.final.CompareAndSwap(nil, &ending{groups, cause}) {
		close(s.last)
	}
}

// end ends s: nothing is written from now on.
func (s *subscription) end(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(cause)
}

func (s *subscription) endLocked(cause error) {
	if !s.over {
		s.over, s.cause = true, cause
		close(s.ended)
	}
}

// setPath takes what the parent says of the way that the track came. The last defence against a circle is here.
func (s *subscription) setPath(path []string) {
	self := s.link.node.config.Node
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	if slices.Contains(path, self) || len(path) > MaxDepth+1 {
		s.endLocked(fmt.Errorf("%w: it came through %v", ErrLoop, path))
		return
	}
	if err := s.tell(append(slices.Clone(path), self)); err != nil {
		s.endLocked(err)
	}
}

func (s *subscription) tell(path []string) (err error) {
	defer s.link.node.survive(&err, "a sink that is told its path")
	s.sink.SetPath(path)
	return nil
}

// admit checks a group against the newest one that was seen: numbers, offsets and epochs only grow, together.
func (s *subscription) admit(h *header) error {
	s.order.Lock()
	defer s.order.Unlock()
	n := &s.newest
	switch {
	case !s.seen:
	case h.number == n.number:
		return malformed("group %d comes twice", h.number)
	case h.number > n.number && (h.first <= n.first || h.params.Epoch < n.params.Epoch):
		return malformed("group %d goes back to offset %d of epoch %d", h.number, h.first, h.params.Epoch)
	case h.number < n.number && (h.first >= n.first || h.params.Epoch > n.params.Epoch):
		return malformed("group %d is ahead of group %d", h.number, n.number)
	}
	if !s.seen || h.number > n.number {
		s.seen, s.newest = true, *h
	}
	return nil
}

// write puts a packet into the log, and tells whether more is wanted. A repair only fills holes.
func (s *subscription) write(params *media.Params, p media.Packet, repair bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	err := s.put(params, p, repair)
	switch {
	case errors.Is(err, log.ErrLate):
		s.link.node.metrics.late.Inc()
	case errors.Is(err, log.ErrDuplicate):
		s.link.node.metrics.duplicate.Inc()
	case err != nil:
		s.endLocked(err)
	}
	return !s.over
}

// put writes to the sink. A sink that panics costs its subscription.
func (s *subscription) put(params *media.Params, p media.Packet, repair bool) (err error) {
	defer s.link.node.survive(&err, "a sink that is written to")
	l := s.sink.Log()
	current := l.Params()
	switch {
	case repair && (current == nil || params.Epoch > current.Epoch || p.Offset >= l.Head()):
		return nil // it came before what it repairs; asking again (ResumeOffset) may still bring it
	case current == nil || params.Epoch > current.Epoch:
		err = s.sink.Begin(*params)
	case params.Epoch < current.Epoch && p.Offset >= l.Head():
		err = fmt.Errorf("%w: it has epoch %d after %d", ErrBehind, params.Epoch, current.Epoch)
	}
	if err != nil {
		return err
	}
	return s.sink.Write(p)
}

// resumeSpan is how far back ResumeOffset looks for holes. A group that was held up on a line is mended within that
// time, or never.
const resumeSpan = 2 * time.Second

// ResumeOffset is where a replica goes on with another parent: the first offset that it lacks since the keyframe
// before its last two seconds, as groups under way may have been cut, else the one after its newest. Zero for an
// empty log. What it has already comes again and is dropped.
func ResumeOffset(l *log.Log) int64 {
	head := l.Head()
	if empty(l) {
		return 0
	}
	start := l.Cursor(log.KeyframeBefore(l.NewestTime().Add(-resumeSpan))).Offset()
	for offset := start; offset < head; offset++ {
		if l.Get(offset) == nil {
			return offset
		}
	}
	return head
}

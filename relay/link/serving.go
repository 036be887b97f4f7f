package link

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"banyan/relay/log"
	"banyan/relay/media"
)

const (
	// What is written to the line at once. Bigger writes cost less; a frame of 4.5 Mbit/s at 30 Hz is about 19 kB.
	batch = 16 << 10
	// How long a write may block before the serving looks up: for a newer keyframe, for changes of the path.
	lookUp = 100 * time.Millisecond
	// A replica may ask for offsets that its new parent has not got yet. No log holds more than this.
	aheadMost = 1 << 16
	// A group of audio is that long.
	audioGroup = time.Second
)

// serving sends one track to one child. It is a cursor, a stream and a buffer: that is all a slow child costs.
type serving struct {
	link   *downlink
	sub    uint64
	id     media.TrackID
	wish   Wish
	whole  bool
	cancel context.CancelFunc

	mu  sync.Mutex // guards log
	log *log.Log   // nil until the track is open

	// Owned by run.
	track  Track
	cursor *log.Cursor
	path   []string
	group  *quic.SendStream // nil between groups
	groups uint64           // begun
	state  groupState
	epoch  uint32
	second media.Time    // of an audio group
	buffer []byte        // records not written yet
	oldest media.Time    // when the first of them came into Banyan; zero where nobody knows
	lag    time.Duration // the least that a packet was behind its coming into Banyan
	level  time.Time     // when everything that the log had was last written
	holes  holes
}

func (s *serving) requestKeyframe() {
	s.mu.Lock()
	l := s.log
	s.mu.Unlock()
	if l != nil {
		l.RequestKeyframe()
	}
}

// run opens the track, serves it, and tells the child why it ended, unless the child asked for that.
func (s *serving) run(ctx context.Context) {
	track, err := s.link.open(ctx, s)
	if err != nil {
		if ctx.Err() == nil {
			_ = s.link.refuse(s.sub, err) // a link that is down has nobody to tell
		}
		return
	}
	defer s.closeTrack(track)
	s.track = track
	if err := s.accept(); err != nil {
		_ = s.link.refuse(s.sub, err)
		return
	}
	defer s.endGroup(streamUnwanted)
	err = s.serveTrack(ctx)
	if ctx.Err() != nil {
		return
	}
	c, text := codeOf(err)
	_ = s.link.send(frameEnd, verdict{s.sub, c, text, s.groups}.append(nil))
}

func (s *serving) closeTrack(track Track) {
	var err error // is in the log
	defer s.link.node.survive(&err, "closing a track of a child")
	track.Close()
}

// accept says that the track is there. It may not have begun.
func (s *serving) accept() (err error) {
	defer s.link.node.survive(&err, "accepting a child's track")
	l := s.track.Log()
	s.path = s.track.Path()
	if len(s.path) > MaxDepth+1 || slices.Contains(s.path, s.link.peer) {
		return ErrLoop
	}
	s.mu.Lock()
	s.log = l
	s.mu.Unlock()
	s.buffer = make([]byte, 0, batch+4096)
	return s.link.send(frameAccepted, accepted{s.sub, l.Head(), s.path}.append(nil))
}

func (s *serving) serveTrack(ctx context.Context) (err error) {
	defer s.link.node.survive(&err, "serving a track to a child")
	return s.serve(ctx)
}

// serve sends what the log has and gets, until it ends or the link does.
func (s *serving) serve(ctx context.Context) error {
	l := s.track.Log()
	for {
		changed := s.track.PathChanged()
		if err := s.sendPath(); err != nil {
			return err
		}
		next := l.Cursor(log.Live()) // until there is something to stand on
		if s.cursor == nil && l.Head() > l.Tail() {
			if err := s.place(l); err != nil {
				return err
			}
		}
		if s.cursor != nil {
			next = s.cursor
			if err := s.drain(ctx); err != nil {
				return err
			}
		}
		if next.Ended() {
			s.endGroup(0)
			return ErrEnded
		}
		select {
		case <-next.Ready():
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// place finds where the child begins.
func (s *serving) place(l *log.Log) error {
	switch head := l.Head(); {
	case s.wish.From > head+aheadMost:
		return fmt.Errorf("%w: it ends at %d, and %d was asked for", ErrBehind, head, s.wish.From)
	case s.wish.From == 0 && s.wish.After > 0 && l.NewestTime().Sub(s.wish.After) < afterMost:
		s.cursor = l.Cursor(log.KeyframeBefore(s.wish.After))
	case s.wish.From == 0:
		s.cursor = l.Cursor(log.LastKeyframe())
	case s.whole && s.wish.From >= l.Tail():
		s.cursor = l.Cursor(log.KeyframeBefore(timeAt(l, s.wish.From).Add(-wholeSpan)))
		if s.cursor.Offset() > s.wish.From { // all keyframes are later
			s.cursor = l.Cursor(log.Offset(s.wish.From))
		}
	case s.wish.From >= l.Tail():
		s.cursor = l.Cursor(log.Offset(s.wish.From))
	default:
		s.cursor = l.Cursor(log.KeyframeBefore(math.MinInt64)) // the oldest of the window
	}
	s.lag, s.level = math.MaxInt64, time.Now()
	return nil
}

// wholeSpan is how long before the offset asked for a child with an empty log gets the track at least: its own
// children, who have all lost one parent, may each be a little further back.
const wholeSpan = 500 * time.Millisecond

// afterMost is how far back a new reader may have a track begin that goes on from another. It is what a transcoder would
// catch up with, and less than the window.
const afterMost = 6 * time.Second

// timeAt is that of the packet at an offset, or of the newest where it is not there.
func timeAt(l *log.Log, offset int64) media.Time {
	if p := l.Get(offset); p != nil {
		return p.Time()
	}
	return l.NewestTime()
}

func (s *serving) sendPath() error {
	path := s.track.Path()
	if slices.Equal(path, s.path) {
		return nil
	}
	s.path = path
	if slices.Contains(path, s.link.peer) || len(path) > MaxDepth+1 {
		return ErrLoop
	}
	return s.link.send(framePath, pathChange{s.sub, path}.append(nil))
}

// errSkipped tells that the rest of a group was given up.
var errSkipped = errors.New("skipped to a newer keyframe")

// drain writes what the log has, up to some batches, so that changes of the path are seen between.
func (s *serving) drain(ctx context.Context) error {
	const most = 256
	level := false
	for range most {
		p, lost := s.cursor.Next()
		if level = p == nil; level {
			break
		}
		if lost > 0 && s.group != nil { // else it skipped them by intent
			s.holes.note(p.Offset-lost, p.Offset, time.Now())
		}
		if err := s.put(ctx, p); err != nil && !errors.Is(err, errSkipped) {
			return err
		}
	}
	if err := s.flush(ctx); err != nil && !errors.Is(err, errSkipped) {
		return err
	}
	if level {
		s.level = time.Now()
	}
	return s.repair(time.Now())
}

// put adds p to its group.
func (s *serving) put(ctx context.Context, p *media.Packet) error {
	if len(p.Payload) > maxPayload {
		s.link.node.metrics.dropped(dropTooLarge, 1)
		return nil
	}
	now := time.Now()
	if s.stale(p.Arrived, now) {
		return s.skip()
	}
	if s.group == nil || s.begins(p) {
		if err := s.begin(ctx, p, now); err != nil {
			return err
		}
	}
	if len(s.buffer) == 0 {
		s.oldest = p.Arrived
	}
	r := record{packet: *p, age: age(p.Arrived, now), sent: max(s.link.node.clock(now), s.state.sent)}
	s.buffer = s.state.appendRecord(s.buffer, &r)
	s.link.node.metrics.sentPackets.Inc()
	if len(s.buffer) >= batch {
		return s.flush(ctx)
	}
	return nil
}

// age is in microseconds; -1 where nobody knows it.
func age(arrived media.Time, now time.Time) int64 {
	if arrived == 0 {
		return -1
	}
	return min(max(media.TimeOf(now).Sub(arrived).Microseconds(), 0), maxStamp-1)
}

// begins tells whether p is the first packet of a group.
func (s *serving) begins(p *media.Packet) bool {
	switch {
	case p.Params.Epoch != s.epoch || p.Offset-s.state.next > maxGap:
		return true
	case s.id.Kind == media.Audio:
		return p.Time().Floor(audioGroup) != s.second
	}
	return p.Has(media.Keyframe)
}

// begin ends the group before and opens one that starts with p.
func (s *serving) begin(ctx context.Context, p *media.Packet, now time.Time) error {
	if err := s.flush(ctx); err != nil && !errors.Is(err, errSkipped) {
		return err
	}
	s.endGroup(0)
	h := header{
		sub: s.sub, number: s.groups, first: p.Offset, ticks: p.Ticks, sent: s.link.node.clock(now), params: *p.Params,
	}
	body := h.append(nil)
	if err := sendable(p.Params); err != nil || len(body) > maxHeader {
		return fmt.Errorf("the parameters of the track do not fit a link: %w", cmp.Or(err, errTooLong))
	}
	stream, err := s.openStream(ctx, p)
	if err != nil {
		return err
	}
	if s.id.Kind == media.Audio {
		stream.SetPriority(2, true) // little, and missed most
	}
	s.group, s.epoch, s.state = stream, p.Params.Epoch, newGroupState(&h)
	s.second = p.Time().Floor(audioGroup)
	s.groups++
	s.buffer = append(s.buffer[:0], streamGroup)
	s.buffer = binary.AppendUvarint(s.buffer, uint64(len(body)))
	s.buffer = append(s.buffer, body...)
	s.oldest = p.Arrived
	s.link.node.metrics.sentGroups.Inc()
	return nil
}

var errTooLong = errors.New("they are too long")

// sendable tells why a child would not take p.
func sendable(p *media.Params) error {
	if p.Epoch == 0 || p.ClockRate <= 0 || p.ClockRate > maxRate {
		return fmt.Errorf("epoch %d, clock rate %d", p.Epoch, p.ClockRate)
	}
	for _, set := range p.Sets {
		if len(set) > maxSetBytes || len(p.Sets) > maxSets {
			return errTooLong
		}
	}
	return nil
}

// openStream waits while the child has as many streams open as it allows, unless p grows stale meanwhile.
func (s *serving) openStream(ctx context.Context, p *media.Packet) (*quic.SendStream, error) {
	began := media.TimeOf(time.Now())
	for {
		short, cancel := context.WithTimeout(ctx, lookUp)
		stream, err := s.link.quic.OpenUniStreamSync(short)
		late := short.Err() != nil
		cancel()
		switch {
		case err == nil:
			return stream, nil
		case ctx.Err() != nil || !late:
			return nil, err
		}
		if s.stale(known(p.Arrived, began), time.Now()) {
			return nil, s.skip()
		}
	}
}

// known is t, or else where nobody knows t.
func known(t, otherwise media.Time) media.Time {
	if t == 0 {
		return otherwise
	}
	return t
}

// flush writes the buffer. It blocks while the line is busy, for as long as there is nothing better to send.
func (s *serving) flush(ctx context.Context) error {
	if s.group == nil || len(s.buffer) == 0 {
		return nil
	}
	oldest := known(s.oldest, media.TimeOf(time.Now()))
	rest := s.buffer
	for {
		_ = s.group.SetWriteDeadline(time.Now().Add(lookUp))
		n, err := s.group.Write(rest)
		s.link.node.metrics.sentBytes.Add(float64(n))
		rest = rest[n:]
		switch {
		case err == nil:
			s.buffer = s.buffer[:0]
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, os.ErrDeadlineExceeded):
			if s.stale(oldest, time.Now()) {
				return s.skip()
			}
		case refusedByChild(err):
			s.group, s.buffer = nil, s.buffer[:0]
			s.cursor.SkipToKeyframe()
			return errSkipped
		default:
			return err
		}
	}
}

// refusedByChild tells whether the child does not want the rest of this group.
func refusedByChild(err error) bool {
	var stream *quic.StreamError
	return errors.As(err, &stream) && stream.Remote
}

// stale tells whether what arrived then should be given up: when the line has not kept up for as long as Stale, and
// falls behind. The first alone would punish a child that catches up with the past, far behind by its own wish; the
// second alone one whose parent was itself without news for a while. Without a newer keyframe there is
// nothing better to send.
func (s *serving) stale(arrived media.Time, now time.Time) bool {
	if arrived == 0 {
		return false
	}
	lag, most := media.TimeOf(now).Sub(arrived), s.link.node.limits.Stale
	s.lag = min(s.lag, lag)
	return now.Sub(s.level) > most && lag-s.lag > most && s.newerKeyframe()
}

func (s *serving) newerKeyframe() bool {
	l := s.cursor.Log()
	p := l.Get(l.Cursor(log.LastKeyframe()).Offset())
	return p != nil && p.Has(media.Keyframe) && p.Offset >= s.cursor.Offset()
}

// skip gives up the group, and what the log has before its newest keyframe.
func (s *serving) skip() error {
	before := s.cursor.Offset()
	s.endGroup(streamStale)
	s.cursor.SkipToKeyframe()
	s.lag, s.level = math.MaxInt64, time.Now()
	m := s.link.node.metrics
	m.dropped(dropStale, int(s.cursor.Offset()-before))
	m.staleGroups.Inc()
	return errSkipped
}

// endGroup closes the stream of the group, or resets it with a code.
func (s *serving) endGroup(code quic.StreamErrorCode) {
	if s.group == nil {
		return
	}
	if code == 0 {
		_ = s.group.Close() // fails only where the child cancelled it
	} else {
		s.group.CancelWrite(code)
	}
	s.group, s.buffer = nil, s.buffer[:0]
}

package log

import (
	"errors"
	"time"

	"banyan/relay/media"
)

// Errors of Writer.Write. None of them ends the writer but ErrReplaced.
var (
	ErrReplaced  = errors.New("another writer has taken over the track: stop writing")
	ErrLate      = errors.New("the packet is older than the window")
	ErrDuplicate = errors.New("the log has this offset already")
	ErrBegun     = errors.New("the log has begun at another offset already")
	ErrNoParams  = errors.New("the track has no parameters yet: call Begin before Write")
)

// Writer appends to a log. A log has one at a time: taking a new one ends the old one.
// Methods are safe for concurrent use.
type Writer struct {
	log *Log

	// Guarded by log.mu.
	begun bool // the next packet in order begins an epoch
}

// window is what the writer keeps account of.
type window struct {
	slab    []byte  // free room for payloads
	entries []entry // free entries
	bytes   int     // in the window, with overhead
	packets int
	epoch   uint32

	all     tally  // of the window
	present tally  // of what belongs to the newest packet's epoch
	newest  uint32 // that epoch
	opening *entry // its first packet; nil where that has left the window
}

// tally is what rates are made of.
type tally struct {
	frames int
	pauses int           // between packets, or right before the first of them
	paused time.Duration // their sum
}

// add counts e once more, or once less where n is -1.
func (t *tally) add(e *entry, n int) {
	if e.Has(media.FrameEnd) {
		t.frames += n
	}
	if e.pause > 0 {
		t.pauses += n
		t.paused += time.Duration(n) * e.pause
	}
}

// rate is how many frames a second there were from the packet first on, pauses apart; zero below half a second, of
// which nothing can be told.
func (t tally) rate(first *entry, newest media.Time) (frames float64, sending time.Duration) {
	if first.pause > 0 { // lies before it
		t.pauses, t.paused = t.pauses-1, t.paused-first.pause
	}
	const least = 500 * time.Millisecond
	if sending = newest.Sub(first.Time()) - t.paused; sending < least {
		return 0, 0
	}
	return float64(t.frames-1-t.pauses) / sending.Seconds(), sending
}

const (
	slabBytes   = 64 << 10
	slabEntries = 64
)

// Writer hands the log over to a new writer; the one before gets ErrReplaced from now on.
func (l *Log) Writer() *Writer {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writer = &Writer{log: l}
	return l.writer
}

// KeyframeRequests delivers the readers' merged wishes for a keyframe. The channel is never closed.
func (w *Writer) KeyframeRequests() <-chan struct{} { return w.log.keyframe }

// Next is the offset after the newest.
func (w *Writer) Next() int64 { return w.log.head.Load() }

// Log is where w writes.
func (w *Writer) Log() *Log { return w.log }

// Begin starts an epoch: packets from now on have these parameters, and the first of them is marked
// as a discontinuity. Where p.Epoch is zero the next number is given (a birthplace); a replica passes
// the number that it was told. What Config.Break says is known, and given, with the first packet.
func (w *Writer) Begin(p media.Params) error {
	l := w.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.writer != w {
		return ErrReplaced
	}
	switch {
	case p.Epoch != 0:
		l.window.epoch = p.Epoch
	case l.window.epoch == 0:
		// The second of birth: above every number that an earlier life of the track used, as long as
		// parameters change less than once a second on average.
		l.window.epoch = uint32(l.first.Load() / 1e6)
	default:
		l.window.epoch++
	}
	p.Epoch = l.window.epoch
	if before := l.params.Load(); before != nil && p.Break == (media.Break{}) {
		p.Break = before.Break
	}
	l.params.Store(&p)
	l.frame.next() // the time of an epoch may be before what readers wait for
	w.begun = true
	return nil
}

// StartAt says at which offset a log begins that nothing has been written to: a replica learns it only with the
// first packet. Readers who are waiting have missed nothing.
func (w *Writer) StartAt(offset int64) error {
	l := w.log
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.writer != w:
		return ErrReplaced
	case l.head.Load() != l.first.Load():
		return ErrBegun
	}
	l.first.Store(offset)
	l.tail.Store(offset)
	l.head.Store(offset)
	return nil
}

// Write publishes p at p.Offset: above the newest it appends, leaving a hole for each offset that it
// passes over; below it fills a hole. The payload is copied. Params and the Discontinuity flag are set
// here.
func (w *Writer) Write(p media.Packet) error {
	l := w.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.writer != w {
		return ErrReplaced
	}
	p.Params = l.params.Load()
	if p.Params == nil {
		return ErrNoParams
	}
	if p.Offset < l.head.Load() {
		return l.fill(p)
	}
	if w.begun {
		p.Flags |= media.Discontinuity
		w.begun = false
		p.Params = l.breakAt(&p)
		l.frame.next() // as Begin
	}
	l.append(p)
	l.bell.ring()
	l.tell(p.Has(media.FrameEnd))
	l.ended(&p)
	return nil
}

// ended wakes the readers of frames where p, which is in the log, ends one.
func (l *Log) ended(p *media.Packet) {
	if p.Has(media.FrameEnd) {
		l.frames.Store(max(l.frames.Load(), p.Offset+1))
		l.frame.ended(p.Time())
	}
}

// breakAt gives the parameters of an epoch, whose first packet is p, the newest break of the stream.
func (l *Log) breakAt(p *media.Packet) *media.Params {
	if l.config.Break == nil {
		return p.Params
	}
	params := *p.Params
	params.Break = l.config.Break(l.id, &params, p.Time())
	l.params.Store(&params)
	return &params
}

// append publishes p as the newest packet. Order matters to readers: tail, slots, head.
func (l *Log) append(p media.Packet) {
	l.makeRoom(p)
	e := l.window.entry(p)
	l.letGo(p.Time())
	l.window.pause(e, p.Time().Sub(l.NewestTime()))
	l.window.lead(e)
	if p.Has(media.Keyframe) {
		e.prevKey = l.lastKey.Load()
	}
	l.table.Load().slot(p.Offset).Store(e)
	l.newest.Store(int64(p.Time()))
	l.counters.packets.Add(1)
	l.counters.bytes.Add(uint64(len(p.Payload)))
	if gap := p.Offset - l.head.Load(); gap < int64(l.config.MaxPackets) { // more is no loss, but another birth
		l.counters.holes.Add(uint64(gap))
	}
	l.head.Store(p.Offset + 1)
	if p.Has(media.Keyframe) {
		l.lastKey.Store(p.Offset)
	}
}

// fill publishes p in a hole of the window. Its epoch is that of its neighbour below, if that is
// still there: a packet that comes late belongs to what was current when it was sent.
func (l *Log) fill(p media.Packet) error {
	if l.lookup(p.Offset) != nil {
		l.counters.duplicates.Add(1)
		return ErrDuplicate
	}
	l.shed(l.config.MaxBytes-len(p.Payload)-packetOverhead, p.Offset+1)
	if p.Offset < l.tail.Load() {
		l.counters.late.Add(1)
		return ErrLate
	}
	if below := l.lookup(p.Offset - 1); below != nil {
		p.Params = below.Params
	}
	e := l.window.entry(p)
	e.prevKey = noOffset
	l.window.count(e, 1)
	l.table.Load().slot(p.Offset).Store(e)
	l.counters.filled.Add(1)
	l.counters.packets.Add(1)
	l.counters.bytes.Add(uint64(len(p.Payload)))
	l.ended(&p) // whoever waits for the end of a frame may stand before it
	return nil
}

// makeRoom moves the tail so that the new packet p fits into all bounds, and grows the ring up to
// its limit.
func (l *Log) makeRoom(p media.Packet) {
	l.shed(l.config.MaxBytes-len(p.Payload)-packetOverhead, l.head.Load())
	l.expire(p)
	// The bound on offsets comes last: a jump may be wider than the whole ring.
	oldest := p.Offset + 1 - int64(l.config.MaxPackets)
	if oldest >= l.head.Load() {
		// A replica's first packet, or a track that was born again. To keep a ring full of holes before it would mean to
		// search them with each packet.
		l.beginAnew(&p)
	}
	for l.tail.Load() < oldest {
		l.drop()
	}
	l.grow(int(p.Offset + 1 - l.tail.Load()))
}

// shed drops from the tail, up to offset end, until at most budget bytes are left.
func (l *Log) shed(budget int, end int64) {
	for l.window.bytes > budget && l.tail.Load() < end {
		l.drop()
	}
}

// expire drops what is more than the window older than p, but nothing from the newest keyframe on.
// Holes go with the packet above them: a reader that stands at one has not missed anything yet.
func (l *Log) expire(p media.Packet) {
	end := l.lastKey.Load()
	if p.Has(media.Keyframe) || end == noOffset {
		end = l.head.Load()
	}
	limit := p.Time().Add(-l.config.Window)
	for {
		e := l.oldest()
		if e == nil || e.Offset >= end || e.Time() >= limit {
			return
		}
		for l.tail.Load() <= e.Offset {
			l.drop()
		}
	}
}

// oldest is the first packet of the window.
func (l *Log) oldest() *entry {
	for offset := l.tail.Load(); offset < l.head.Load(); offset++ {
		if e := l.lookup(offset); e != nil {
			return e
		}
	}
	return nil
}

// drop removes the offset at the tail.
func (l *Log) drop() {
	offset := l.tail.Load()
	e := l.lookup(offset)
	if l.lastKey.Load() == offset {
		l.lastKey.Store(noOffset)
	}
	l.tail.Store(offset + 1)
	if e != nil {
		l.table.Load().slot(offset).Store(nil)
		l.window.forget(e)
	}
}

// grow makes the ring hold at least n offsets. Readers that still hold the old ring find there what
// was in it when it was left, which stays true.
func (l *Log) grow(n int) {
	old := l.table.Load()
	size := len(old.slots)
	if n <= size {
		return
	}
	for size < n {
		size *= 2
	}
	bigger := newTable(size)
	for offset := l.tail.Load(); offset < l.head.Load(); offset++ {
		if e := old.slot(offset).Load(); e != nil && e.Offset == offset {
			bigger.slot(offset).Store(e)
		}
	}
	l.table.Store(bigger)
}

// entry copies p into the slabs.
func (w *window) entry(p media.Packet) *entry {
	if len(w.entries) == 0 {
		w.entries = make([]entry, slabEntries)
	}
	e := &w.entries[0]
	w.entries = w.entries[1:]
	e.Packet = p
	e.Payload = w.copy(p.Payload)
	w.bytes += len(p.Payload) + packetOverhead
	w.packets++
	return e
}

func (w *window) copy(payload []byte) []byte {
	n := len(payload)
	if n > slabBytes/4 {
		return append([]byte(nil), payload...)
	}
	if n > len(w.slab) {
		w.slab = make([]byte, slabBytes)
	}
	room := w.slab[:n:n] // capped, so that nobody can append into a neighbour
	w.slab = w.slab[n:]
	copy(room, payload)
	return room
}

// pause notes the time before e during which nobody was sending: the absence of a publisher, which says
// nothing of the rates of what is published.
func (w *window) pause(e *entry, since time.Duration) {
	const silence = 2 * time.Second // longer than any frame is shown
	if w.packets > 1 && since > 0 && (e.Has(media.Discontinuity) || since > silence) {
		e.pause = since
	}
}

// lead counts e as the newest packet.
func (w *window) lead(e *entry) {
	if epoch := e.Params.Epoch; epoch != w.newest || w.packets == 1 {
		w.newest, w.present, w.opening = epoch, tally{}, e
	}
	w.count(e, 1)
}

// count counts e in the tallies once more, or once less where n is -1.
func (w *window) count(e *entry, n int) {
	w.all.add(e, n)
	if e.Params.Epoch == w.newest {
		w.present.add(e, n)
	}
}

func (w *window) forget(e *entry) {
	w.count(e, -1)
	if e == w.opening {
		w.opening = nil
	}
	w.bytes -= len(e.Payload) + packetOverhead
	w.packets--
}

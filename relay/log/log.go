package log

import (
	"sync"
	"sync/atomic"
	"time"

	"banyan/relay/media"
)

// Config bounds the window of a log. Zero means default.
type Config struct {
	// Window is how much media time is kept. If zero, 12 s.
	Window time.Duration
	// MaxBytes bounds the payload bytes kept, counted with 96 bytes per packet for what is around
	// them. If zero, 32 MiB.
	MaxBytes int
	// MaxPackets bounds the number of offsets in the window; rounded up to a power of two.
	// If zero, 65536.
	MaxPackets int
	// Break tells the newest break of the stream for an epoch of this track that begins at a media time. If nil, epochs
	// have the one that they are begun with: a replica's, and that of a track which is made of another.
	Break func(id media.TrackID, epoch *media.Params, at media.Time) media.Break
}

const (
	defaultWindow     = 12 * time.Second
	defaultMaxBytes   = 32 << 20
	defaultMaxPackets = 1 << 16
	packetOverhead    = 96 // what an entry and its slot cost beside the payload
	firstSlots        = 256
)

func (c Config) withDefaults() Config {
	if c.Window <= 0 {
		c.Window = defaultWindow
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = defaultMaxBytes
	}
	if c.MaxPackets <= 0 {
		c.MaxPackets = defaultMaxPackets
	}
	slots := firstSlots
	for slots < c.MaxPackets {
		slots *= 2
	}
	c.MaxPackets = slots
	return c
}

// noOffset stands for "no such packet".
const noOffset = -1

// Log is the window of a track on this node. All methods are safe for concurrent use.
type Log struct {
	id     media.TrackID
	config Config

	// Published by the writer, read by everyone. A reader loads head before table: the table it then
	// sees has room for all offsets below that head.
	first   atomic.Int64            // where the log begins
	head    atomic.Int64            // one past the newest offset
	tail    atomic.Int64            // oldest offset that may still be there
	renewal atomic.Pointer[renewal] // the newest after the first; nil before
	lastKey atomic.Int64            // offset of the newest keyframe in the window, or noOffset
	table   atomic.Pointer[table]
	params  atomic.Pointer[media.Params] // of the newest epoch
	newest  atomic.Int64                 // media time of the newest packet
	wanted  atomic.Int64                 // media time, see Want
	closed  atomic.Bool

	frames   atomic.Int64  // one past the newest offset that ends a frame
	bell     bell          // rung with each new packet
	frame    frameBell     // rung with ends of frames, new or late
	keyframe chan struct{} // readers' wish for a keyframe; capacity 1, never closed
	counters counters

	mu        sync.Mutex  // serialises writers; readers never take it
	writer    *Writer     // who may write
	window    window      // the writer's accounts
	listeners []*listener // who is told of each packet
}

// table is the ring of slots; its length is a power of two.
type table struct {
	slots []atomic.Pointer[entry]
}

func newTable(size int) *table { return &table{slots: make([]atomic.Pointer[entry], size)} }

// at is the entry of an offset; nil where there is none. t may be nil.
func (t *table) at(offset int64) *entry {
	if t == nil {
		return nil
	}
	if e := t.slot(offset).Load(); e != nil && e.Offset == offset {
		return e
	}
	return nil
}

func (t *table) slot(offset int64) *atomic.Pointer[entry] {
	return &t.slots[offset&int64(len(t.slots)-1)]
}

// entry is a packet with its link to the keyframe before it.
type entry struct {
	media.Packet
	prevKey int64         // offset of the keyframe before this one (keyframes only), or noOffset
	pause   time.Duration // media time since the packet before, where nobody was sending; zero otherwise
}

// alwaysReady is what Ready returns when there is no need to wait.
var alwaysReady = func() chan struct{} { ch := make(chan struct{}); close(ch); return ch }()

// FirstOffset is where a log born at now begins: microseconds since the Unix epoch, which no track
// outruns, so that a later birth always begins above every offset of an earlier one.
func FirstOffset(now time.Time) int64 { return now.UnixMicro() }

// New makes an empty log whose first packet is expected at offset first.
func New(id media.TrackID, first int64, config Config) *Log {
	l := &Log{id: id, config: config.withDefaults(), keyframe: make(chan struct{}, 1)}
	l.first.Store(first)
	l.head.Store(first)
	l.tail.Store(first)
	l.lastKey.Store(noOffset)
	l.table.Store(newTable(min(firstSlots, l.config.MaxPackets)))
	return l
}

// ID is the track that the log belongs to.
func (l *Log) ID() media.TrackID { return l.id }

// Head is one past the newest offset.
func (l *Log) Head() int64 { return l.head.Load() }

// Tail is the oldest offset of the window.
func (l *Log) Tail() int64 { return l.tail.Load() }

// Params are those of the newest epoch; nil before the first.
func (l *Log) Params() *media.Params { return l.params.Load() }

// NewestTime is the media time of the newest packet; zero before the first.
func (l *Log) NewestTime() media.Time { return media.Time(l.newest.Load()) }

// Want tells who is to write a log that has nothing yet that a reader has the track up to media time t, from another
// node that made it before: the log had best go on there. Of several readers the one that has most counts.
func (l *Log) Want(t media.Time) {
	for {
		before := l.wanted.Load()
		if int64(t) <= before || l.wanted.CompareAndSwap(before, int64(t)) {
			return
		}
	}
}

// Wanted is the newest media time that Want was told of; zero where nobody has said.
func (l *Log) Wanted() media.Time { return media.Time(l.wanted.Load()) }

// Get returns the packet at offset, or nil where the window has none (retransmission reads this).
func (l *Log) Get(offset int64) *media.Packet {
	e := l.lookup(offset)
	if b := l.renewal.Load(); e == nil && b != nil {
		e = b.before.at(offset)
	}
	if e == nil {
		return nil
	}
	return &e.Packet
}

func (l *Log) lookup(offset int64) *entry {
	if offset < l.tail.Load() || offset >= l.head.Load() {
		return nil
	}
	return l.table.Load().at(offset)
}

// RequestKeyframe passes a reader's wish for a keyframe to whoever writes the track. Wishes merge
// until the writer takes one.
func (l *Log) RequestKeyframe() {
	select {
	case l.keyframe <- struct{}{}:
	default:
	}
}

// Close ends the log: readers drain what is there and then get io.EOF.
func (l *Log) Close() {
	l.mu.Lock()
	l.writer = nil
	l.closed.Store(true)
	l.tell(true)
	l.mu.Unlock()
	l.bell.ring()
	l.frame.ring()
}

// Closed tells whether Close was called.
func (l *Log) Closed() bool { return l.closed.Load() }

// ready returns a channel that is closed as soon as offset next may be there, or the log has ended.
func (l *Log) ready(next int64) <-chan struct{} {
	rung := l.bell.wait()
	if l.head.Load() > next || l.closed.Load() {
		return alwaysReady
	}
	return rung
}

// frameReady returns a channel that is closed as soon as the end of a frame of time from or later may be there, at
// offset next or above, or the log has ended.
func (l *Log) frameReady(next int64, from media.Time) <-chan struct{} {
	rung := l.frame.wait(from)
	if l.frames.Load() > next && l.NewestTime() >= from || l.closed.Load() {
		return alwaysReady
	}
	return rung
}

// keyframeBefore is the offset of the newest keyframe at or before t; where all are later, the
// oldest keyframe of the window; noOffset where there is none.
func (l *Log) keyframeBefore(t media.Time) int64 {
	found := int64(noOffset)
	for offset := l.lastKey.Load(); offset != noOffset; {
		e := l.lookup(offset)
		if e == nil {
			break
		}
		found = offset
		if e.Time() <= t {
			break
		}
		offset = e.prevKey
	}
	return found
}

package log

import (
	"context"
	"io"
	"time"

	"banyan/relay/media"
)

// Start says where a new cursor begins.
type Start struct {
	at     startKind
	offset int64
	time   media.Time
}

type startKind uint8

const (
	atLive startKind = iota
	atKeyframe
	atOffset
	atTime
)

// Live starts at the next packet that is written.
func Live() Start { return Start{at: atLive} }

// LastKeyframe starts at the newest keyframe of the window; where there is none, at the next one.
func LastKeyframe() Start { return Start{at: atKeyframe} }

// Offset starts at offset n, or, where the window has moved on, where a reader goes that fell behind.
func Offset(n int64) Start { return Start{at: atOffset, offset: n} }

// KeyframeBefore starts at the newest keyframe whose time is at or before t; where all are later, at
// the oldest keyframe of the window; where there is none, at the next one.
func KeyframeBefore(t media.Time) Start { return Start{at: atTime, time: t} }

// Cursor reads a log in order of offsets. It is owned by one goroutine.
type Cursor struct {
	// MaxLag makes a reader that is further behind the newest packet than this skip to the newest
	// keyframe, where there is one ahead of it. Zero means that only the window bounds it.
	MaxLag time.Duration

	log     *Log
	next    int64 // the offset to read
	lost    int64 // offsets passed over since the last packet returned
	waitKey bool  // drop until the next keyframe
	early   bool  // made before the log began: it may yet begin elsewhere
}

// Cursor makes a reader of the log.
func (l *Log) Cursor(start Start) *Cursor {
	c := &Cursor{log: l, early: l.head.Load() == l.first.Load()}
	switch start.at {
	case atOffset:
		c.next = start.offset
	case atLive:
		c.next = l.head.Load()
	case atKeyframe:
		c.beginAt(l.lastKey.Load())
	case atTime:
		c.beginAt(l.keyframeBefore(start.time))
	}
	return c
}

func (c *Cursor) beginAt(key int64) {
	if key == noOffset {
		c.next, c.waitKey = c.log.head.Load(), true
		return
	}
	c.next = key
}

// Log is what c reads.
func (c *Cursor) Log() *Log { return c.log }

// Offset is the offset that c reads next.
func (c *Cursor) Offset() int64 { return c.next }

// Next returns the next packet, or nil when there is none yet. lost is how many offsets lie between
// this packet and the one returned before it: holes, and what c skipped because it fell behind, but not
// what lies between one birth of the track and the next. Each skip is counted in the log's Stats by its reason. Next
// never waits and never allocates.
func (c *Cursor) Next() (p *media.Packet, lost int64) {
	for {
		e := c.step()
		if e == nil {
			return nil, 0
		}
		if c.waitKey && !e.Has(media.Keyframe) {
			c.pass(c.next+1, SkipAwaitKeyframe)
			continue
		}
		if c.lagging(e) {
			continue
		}
		c.waitKey = false
		c.next = e.Offset + 1
		lost, c.lost = c.lost, 0
		return &e.Packet, lost
	}
}

// step finds the packet at or after next, passing over holes, without consuming it.
func (c *Cursor) step() *entry {
	l := c.log
	if c.early {
		c.early = l.head.Load() == l.first.Load()
		c.next = max(c.next, l.first.Load())
	}
	for c.next < l.head.Load() {
		if e := l.table.Load().at(c.next); e != nil {
			return e
		}
		if tail := l.tail.Load(); c.next < tail {
			if e := c.finish(tail); e != nil {
				return e
			}
			continue
		}
		c.pass(c.next+1, SkipHole)
	}
	return nil
}

// catchUp moves a cursor that the window has left behind to the newest keyframe.
func (c *Cursor) catchUp(tail int64) {
	key := c.log.lastKey.Load()
	if key > c.next {
		c.pass(key, SkipOverrun)
		return
	}
	c.pass(tail, SkipOverrun)
	c.waitKey = true
}

// lagging skips to the newest keyframe if c is too far behind at e and that helps.
func (c *Cursor) lagging(e *entry) bool {
	l := c.log
	if c.MaxLag <= 0 || l.NewestTime().Sub(e.Time()) <= c.MaxLag {
		return false
	}
	key := l.lastKey.Load()
	if key <= c.next {
		return false
	}
	c.pass(key, SkipLag)
	return true
}

// SkipToKeyframe drops what is queued up to the newest keyframe, or, where none is ahead, everything
// up to the next one that is written.
func (c *Cursor) SkipToKeyframe() {
	if key := c.log.lastKey.Load(); key > c.next {
		c.pass(key, SkipLag)
		return
	}
	c.waitKey = true
}

// pass moves on to an offset.
func (c *Cursor) pass(to int64, why Skip) {
	n := c.log.between(c.next, to)
	c.next = to
	c.lost += n
	c.log.counters.skips[why].Add(uint64(n))
}

// Ready returns a channel that is closed as soon as Next may return a packet, or the log has ended.
func (c *Cursor) Ready() <-chan struct{} { return c.log.ready(c.next) }

// FrameReady returns a channel that is closed as soon as Next may return the last packet of a frame, or the log has
// ended: for who can do nothing with less than a frame.
func (c *Cursor) FrameReady() <-chan struct{} { return c.log.frameReady(c.next, anyTime) }

// FrameReadyAt is FrameReady for who can do nothing before a frame of time t or later, or one of another epoch than
// that of seen, the parameters of the packet that Next returned last. It may be closed before.
func (c *Cursor) FrameReadyAt(t media.Time, seen *media.Params) <-chan struct{} {
	if c.log.Params() != seen {
		t = anyTime
	}
	return c.log.frameReady(c.next, t)
}

// Ended tells whether the log is closed and c has read all of it.
func (c *Cursor) Ended() bool { return c.log.Closed() && c.next >= c.log.Head() }

// Read waits for the next packet. It returns io.EOF when the log was closed and is read to its end,
// and the context's error when that ends first.
func (c *Cursor) Read(ctx context.Context) (p *media.Packet, lost int64, err error) {
	for {
		if p, lost := c.Next(); p != nil {
			return p, lost, nil
		}
		if c.Ended() {
			return nil, 0, io.EOF
		}
		select {
		case <-c.Ready():
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

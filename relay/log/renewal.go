package log

import (
	"time"

	"banyan/relay/media"
)

// renewal is where the window began anew: offsets went on far above those before, as the track was born again. No offset
// between the two windows ever was, so that none of them is lost.
type renewal struct {
	at    int64 // the window's first offset
	since int64 // that of the window before
	from  int64 // its tail when it ended
	end   int64 // its head
	// before is the ring of that window, for readers who have not come to its end; nil once they have had their time.
	before *table
	bytes  int        // of it, with overhead
	time   media.Time // of the first packet behind
}

// finishing is how much of the new window is written before the one before is let go of. Who needs longer would be
// skipped to a keyframe anyway.
const finishing = 2 * time.Second

// beginAnew begins another window with p, in a ring of its own. Order matters to readers: who sees the new ring sees the
// new tail, and who sees that sees the renewal.
func (l *Log) beginAnew(p *media.Packet) {
	since := l.first.Load()
	if b := l.renewal.Load(); b != nil {
		since = b.at
	}
	l.renewal.Store(&renewal{
		at: p.Offset, since: since, from: l.tail.Load(), end: l.head.Load(),
		before: l.table.Load(), bytes: l.window.bytes, time: p.Time(),
	})
	for old := l.tail.Load(); old < l.head.Load(); old++ {
		if e := l.lookup(old); e != nil {
			l.window.forget(e)
		}
	}
	l.lastKey.Store(noOffset)
	l.tail.Store(p.Offset)
	l.table.Store(newTable(min(firstSlots, l.config.MaxPackets)))
}

// letGo drops the window before when its readers have had their time, or both together are too large.
func (l *Log) letGo(now media.Time) {
	b := l.renewal.Load()
	if b == nil || b.before == nil || now.Sub(b.time) < finishing && l.window.bytes+b.bytes <= l.config.MaxBytes {
		return
	}
	gone := *b
	gone.before, gone.bytes = nil, 0
	l.renewal.Store(&gone)
}

// between is how many offsets lie from one to another, but for those that never were. Where it does not know these, as a
// reader has missed more than one renewal, it tells no more than a window holds.
func (l *Log) between(from, to int64) int64 {
	n := to - from
	b := l.renewal.Load()
	if b == nil {
		return n
	}
	if from <= b.end && b.at <= to {
		n -= b.at - b.end
	}
	if from < b.since {
		n = min(n, int64(l.config.MaxPackets))
	}
	return n
}

// finish returns what a cursor that stands below the window has to read still, or moves it on.
func (c *Cursor) finish(tail int64) *entry {
	b := c.log.renewal.Load()
	switch {
	case b == nil || b.at <= c.next:
		c.catchUp(tail)
	case c.next < b.from:
		c.pass(b.from, SkipOverrun)
	case c.next >= b.end:
		c.next, c.waitKey = b.at, true
	case b.before == nil:
		c.pass(b.end, SkipOverrun)
	default:
		if e := b.before.at(c.next); e != nil {
			return e
		}
		c.pass(c.next+1, SkipHole)
	}
	return nil
}

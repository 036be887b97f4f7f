package rtsp

import (
	"time"

	"github.com/pion/rtp"

	"banyan/relay/media"
)

// Publishers often begin with a burst: what they encoded while the session was set up comes at once
// (GStreamer's rtspclientsink a second of it). Anchored at its first packet, the track would run ahead
// of the clock by that much from then on, as media time never goes back. So the first packets of a
// track wait for a moment, until the burst has shown by how much the first was late. On a busy machine the
// burst itself may stall; so the moment begins again with each packet that comes early or late.
const (
	leadInTime  = 200 * time.Millisecond // of calm
	leadInCalm  = 50 * time.Millisecond  // what a packet may be early or late by in it
	leadInLimit = time.Second            // however restless
	leadInMost  = 4096                   // packets held at most
	// The longest burst that is believed. A file sent without pace is one without end, a leap of the
	// timestamps none at all: nothing follows from them, and nothing is held for them.
	leadInBurst = 3 * time.Second
)

// leadIn holds the first packets of a track. The zero value is ready.
type leadIn struct {
	over   bool
	anchor time.Time // when the first packet would have come without the burst
	level  time.Time // when the first packet would have come, by the last packet that was early or late
	unrest time.Time // when that one came
	held   []arrival
}

// arrival is a packet and when it came.
type arrival struct {
	packet *rtp.Packet
	at     time.Time
}

// add holds a packet; when the lead-in is over it returns all that were held, in order.
func (l *leadIn) add(a arrival, rate int) []arrival {
	if len(l.held) == 0 {
		l.anchor, l.level, l.unrest = a.at, a.at, a.at
	}
	l.held = append(l.held, a)
	first := l.held[0]
	after := media.DurationOf(int64(int32(a.packet.Timestamp-first.packet.Timestamp)), rate)
	if after.Abs() > leadInBurst {
		l.anchor = first.at
		return l.end()
	}
	due := a.at.Add(-after)
	if due.Sub(l.level).Abs() > leadInCalm {
		l.level, l.unrest = due, a.at
	}
	if due.Before(l.anchor) {
		l.anchor = due
	}
	if a.at.Sub(l.unrest) < leadInTime && a.at.Sub(first.at) < leadInLimit && len(l.held) < leadInMost {
		return nil
	}
	return l.end()
}

func (l *leadIn) end() []arrival {
	held := l.held
	l.over, l.held = true, nil
	return held
}

package rtc

import (
	"time"

	"banyan/relay/log"
	"banyan/relay/media"
)

// Switcher reads one log after another as if they were one track: formats of a stream, simulcast layers, a log that
// was born again. It changes over at a keyframe. Its zero value reads nothing. It knows no clock and is owned by one
// goroutine.
//
// The logs share media time. Where their keyframes fall on the same instants and the new log is not behind, the
// change is seamless: the old log is read up to the new one's keyframe and not a frame is missed or shown twice.
// Where the new log is behind, what the viewer has seen already comes again, see Timeline.
type Switcher struct {
	current *log.Cursor
	next    *log.Cursor   // where to change over to; nil when nothing is pending
	held    *media.Packet // the keyframe at which next begins, when it is there

	ticks    int64 // of the last packet
	complete bool  // it ended its frame
	dropped  bool  // the current log is read no further than to the end of its frame
}

// patience is how far the log to come may run ahead while the current one has nothing.
const patience = 300 * time.Millisecond

// Switch changes over to c at its first keyframe. It replaces a change that is pending.
func (s *Switcher) Switch(c *log.Cursor) { s.next, s.held = c, nil }

// Cancel stays with the current log.
func (s *Switcher) Cancel() { s.next, s.held, s.dropped = nil, nil, false }

// Drop reads the current log no further than to the end of the frame that has begun, though the next one's keyframe is
// yet to come: for a viewer whose network does not carry what is left of it.
func (s *Switcher) Drop() { s.dropped = s.next != nil }

// Keep takes Drop back.
func (s *Switcher) Keep() { s.dropped = false }

// Dropped tells whether the current log is not read on.
func (s *Switcher) Dropped() bool { return s.dropped && s.complete }

// Current is the log that is read now; nil before the first keyframe.
func (s *Switcher) Current() *log.Log {
	if s.current == nil {
		return nil
	}
	return s.current.Log()
}

// Offset is that of the next packet of the current log; zero where there is none.
func (s *Switcher) Offset() int64 {
	if s.current == nil {
		return 0
	}
	return s.current.Offset()
}

// Pending is the log that is to follow; nil where none is.
func (s *Switcher) Pending() *log.Log {
	if s.next == nil {
		return nil
	}
	return s.next.Log()
}

// Ended tells whether the current log is closed and read to its end.
func (s *Switcher) Ended() bool { return s.current != nil && s.current.Ended() }

// Next returns the next packet, or nil when there is none yet; how many offsets were passed over before it; and
// whether it is the first of another log.
func (s *Switcher) Next() (p *media.Packet, lost int64, switched bool) {
	s.findKeyframe()
	if s.held != nil && s.due() {
		return s.changeOver(), 0, true
	}
	if s.current == nil || s.Dropped() {
		return nil, 0, false
	}
	p, lost = s.current.Next()
	if p == nil {
		return nil, 0, false
	}
	if s.held != nil && p.Ticks >= s.held.Ticks && p.Ticks != s.ticks {
		return s.changeOver(), 0, true // the first frame that both logs have
	}
	s.ticks, s.complete = p.Ticks, p.Has(media.FrameEnd)
	return p, lost, false
}

// findKeyframe looks for the keyframe at which the next log begins.
func (s *Switcher) findKeyframe() {
	for s.next != nil && s.held == nil {
		p, _ := s.next.Next()
		if p == nil {
			return
		}
		if p.Has(media.Keyframe) {
			s.held = p
		}
	}
}

// due tells whether to change over before reading on: there is nothing to read on, or the viewer is past the
// keyframe already.
func (s *Switcher) due() bool {
	switch {
	case s.current == nil || s.current.Ended() || s.Dropped():
		return true
	case s.complete && s.held.Ticks <= s.ticks:
		return true
	}
	starved := s.current.Offset() >= s.current.Log().Head()
	return starved && s.next.Log().NewestTime().Sub(s.held.Time()) > patience
}

func (s *Switcher) changeOver() *media.Packet {
	p := s.held
	s.current, s.next, s.held, s.dropped = s.next, nil, nil, false
	s.ticks, s.complete = p.Ticks, p.Has(media.FrameEnd)
	return p
}

// Ready returns channels of which one is closed when Next may have something; nil ones where there is nothing to
// wait for. While a keyframe is held back, look again several times a
// second: the current log may have gone quiet.
func (s *Switcher) Ready() (current, next <-chan struct{}) {
	// A log that is closed is always ready, to say that it has ended; waiting for it would be spinning.
	if s.current != nil && !s.current.Ended() {
		current = s.current.Ready()
	}
	if s.next != nil && s.held == nil && !s.next.Ended() {
		next = s.next.Ready()
	}
	return current, next
}

package whep

import (
	"time"

	"banyan/relay/media"
)

// pace tells sound that is live from a backlog of it. A process that starts, or goes on after its publisher was away,
// puts out what it missed as fast as it can. Of pictures that is a burst, which a player runs through; sound a player
// does not run through: it keeps all of it, plays it a few percent faster, and holds its pictures back meanwhile, so
// that seconds of backlog are seconds of delay for a minute.
//
// A backlog is known by two things: it is behind what is live, and it gets less so with each packet. What is behind and
// stays so is how late this sound is, and is sent. So is what comes in clumps again and again, from a machine or a line
// that is too slow: a player's buffer gets used to that, where passing over each clump would leave little to hear.
// The zero value awaits the first packet. It knows no clock and is owned by whoever sends.
type pace struct {
	heard   time.Time     // when the last packet was read; zero before the first
	joining bool          // since a pause or the first packet, it is not settled yet whether this is a backlog
	least   time.Duration // behind, of what was read since then
	since   time.Time     // when least was last undercut
	passed  time.Time     // when a backlog was last passed over
}

const (
	inTime  = 200 * time.Millisecond // behind live, sound is no backlog: an encoder and its pipes take that long
	gain    = 10 * time.Millisecond  // or more is what a backlog gets less by: half a packet of Opus
	steady  = 250 * time.Millisecond // without a gain, what is behind is late and no backlog
	hush    = 250 * time.Millisecond // without a packet, a backlog may follow
	absence = time.Second            // without a packet is no clump's pause
	calm    = 10 * time.Second       // after a backlog, the next shorter pause may be followed by one; before, by a clump
)

// arrives notes that a packet was read at now. Where it tells to look, late is to be asked about it.
func (p *pace) arrives(now time.Time, switched bool) (look bool) {
	pause := now.Sub(p.heard)
	if switched || p.heard.IsZero() || pause > absence || pause > hush && (p.joining || now.Sub(p.passed) > calm) {
		p.joining, p.least, p.since = true, 1<<62, now
	}
	p.heard = now
	return p.joining
}

// late tells whether the packet that was read at now, and is so far behind what is live, is part of a backlog.
func (p *pace) late(behind time.Duration, now time.Time) bool {
	if behind <= p.least-gain {
		p.least, p.since = behind, now
	}
	p.joining = behind > inTime && now.Sub(p.since) < steady
	if p.joining {
		p.passed = now
	}
	return p.joining
}

// backlogged tells whether p, which was read now, is sound that comes too late to be worth sending.
func (s *sender) backlogged(p *media.Packet, switched bool) bool {
	if s.kind != media.Audio {
		return false
	}
	now := s.feed.now
	return s.pace.arrives(now, switched) && s.pace.late(s.live(now).Sub(p.Time()), now)
}

// live is the newest time of what the stream's publisher sends and of what this viewer reads, as far as that is here; the
// wall clock's where nothing else is.
func (s *sender) live(now time.Time) media.Time {
	var newest media.Time
	for _, t := range s.feed.stream.Published() {
		if t.Live && t.Log != nil {
			newest = max(newest, t.Log.NewestTime())
		}
	}
	for _, other := range s.feed.senders {
		if other != s && other.current != nil {
			newest = max(newest, other.current.Log().NewestTime())
		}
	}
	if newest == 0 {
		return media.TimeOf(now)
	}
	return newest
}

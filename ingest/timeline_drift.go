package ingest

import (
	"time"

	"banyan/relay/media"
)

// delays finds the least delay in each window of time.
type delays struct {
	from  time.Time
	least time.Duration
}

// add takes the delay of a packet; done tells that a window is over and least is its result.
func (d *delays) add(delay time.Duration, arrived time.Time) (least time.Duration, done bool) {
	if d.from.IsZero() {
		*d = delays{from: arrived, least: delay}
	}
	d.least = min(d.least, delay)
	if arrived.Sub(d.from) < driftWindow {
		return 0, false
	}
	least = d.least
	*d = delays{}
	return least, true
}

// measure looks at the delay of a packet: by how much it came later than its media time says. The
// leading track's shows the drift of the publisher's clock. Audio leads, as its packets are small and
// evenly sent.
func (t *Timeline) measure(c *Clock, ticks int64, arrived time.Time) {
	if t.lead == nil || c.outranks(t.lead) || c != t.lead && arrived.Sub(t.lead.arrived) >= driftWindow {
		t.lead, t.owed = c, 0
	}
	due := media.TimeAt(ticks, c.rate).Add(c.unmoved()) // also if it is sound, and only about to be moved
	least, done := c.delays.add(media.TimeOf(arrived).Sub(due), arrived)
	switch {
	case !done:
	case least >= lagging:
		c.astray = least
	case c == t.lead:
		t.owe(least)
	}
}

func (c *Clock) outranks(other *Clock) bool { return c.audio() && !other.audio() }

func (c *Clock) audio() bool { return c.rate != media.VideoClockRate }

// owe decides at the end of a window how much drift is to be corrected.
func (t *Timeline) owe(least time.Duration) {
	rest := driftBand
	if t.owed != 0 {
		rest = driftRest
	}
	t.owed = 0
	if least.Abs() > rest {
		t.owed = least
	}
}

// slew corrects drift while the leading track advances by step.
func (t *Timeline) slew(step time.Duration) {
	most := step * driftSlew / 1e6
	d := min(max(t.owed, -most), most)
	t.shift += d
	t.owed -= d
}

// SenderReport takes the pair of clocks of an RTCP sender report: ntp in the 64-bit format of RFC
// 3550, section 4, and the RTP timestamp of the same instant. Only the difference between tracks is
// used, so the publisher's clock may be years off.
func (c *Clock) SenderReport(ntp uint64, rtp uint32, arrived time.Time) {
	t := c.timeline
	t.mu.Lock()
	defer t.mu.Unlock()
	if ntp == 0 { // a sender without a wall clock says so (RFC 3550, section 6.4.1)
		return
	}
	step := c.unwrap(rtp)
	c.report = report{valid: true, ntp: ntpDuration(ntp), ext: c.ext + step, arrived: arrived}
	lead := t.aligner()
	for _, other := range t.clocks {
		if lead == nil || other == lead || !other.anchored {
			continue
		}
		other.astray = 0
		if d, ok := lead.aheadOf(other); ok && d.Abs() > skewRest {
			other.astray = d
		}
	}
}

// ntpDuration is the time since NTP's epoch; eras wrap, which only differences survive, and only
// those are used.
func ntpDuration(ntp uint64) time.Duration {
	fraction := (ntp & 0xffffffff) * uint64(time.Second) >> 32
	return time.Duration(ntp>>32)*time.Second + time.Duration(fraction)
}

// aligner is the track that keeps its place: the first audio track with a report, else the first track
// with one.
func (t *Timeline) aligner() *Clock {
	var lead *Clock
	for _, c := range t.clocks {
		if c.anchored && c.report.valid && (lead == nil || c.outranks(lead)) {
			lead = c
		}
	}
	return lead
}

// aheadOf is by how much other has to be moved so that what the publisher took at one instant has one
// media time in both tracks; ok is false where their reports cannot tell.
func (c *Clock) aheadOf(other *Clock) (d time.Duration, ok bool) {
	a, b := &c.report, &other.report
	if !a.valid || !b.valid {
		return 0, false
	}
	apart := a.arrived.Sub(b.arrived)
	if apart.Abs() > reportAge || (a.ntp-b.ntp-apart).Abs() > reportJitter {
		return 0, false
	}
	d = c.mediaAt(a.ext).Sub(other.mediaAt(b.ext)) - (a.ntp - b.ntp)
	return d, d.Abs() <= skewMost
}

// mediaAt is the media time of a timestamp by all corrections. Pictures keep to that, not to the steps of sound.
func (c *Clock) mediaAt(ext int64) media.Time {
	return media.TimeAt(ext+c.segments[len(c.segments)-1].offset, c.rate).Add(c.unmoved())
}

package ingest

import (
	"sync"
	"time"

	"banyan/relay"
	"banyan/relay/media"
)

// The thresholds of a Timeline.
const (
	// A step of the timestamps that runs this far ahead of the time that passed is a leap: the
	// publisher changed its source or its clock. Less is a burst after a stall.
	leapAhead = 3 * time.Second
	// Frames are sent out of display order by a few frames at most (16 in H.264, at 15 Hz about a
	// second); a step further back is a leap.
	leapBack = time.Second
	// A track that has run this far ahead of the clock, by steps that are none of them a leap, is held there: its
	// packets count as of their arrival. A file that is sent without pace would take media time along for good.
	aheadMost = 10 * time.Second
	// A track whose packets are this late for a whole drift window will not catch up: the publisher
	// paused and went on where it was.
	lagging = time.Second

	// The fastest packet of a window tells the publisher's clock from the network's moods.
	driftWindow = 10 * time.Second
	// Error of the clock that is left alone, so that a quiet network costs no corrections, and what is
	// left when a correction ends.
	driftBand, driftRest = 30 * time.Millisecond, 5 * time.Millisecond
	// Parts per million of media time by which drift is corrected: below what anybody hears, and
	// above the error of any working crystal.
	driftSlew = 500

	// Skew between tracks below skewRest is left alone, above skewStep it is put right at once, in
	// between by skewSlew per frame. Above skewMost the sender reports make no sense.
	skewRest = 2 * time.Millisecond
	skewStep = 100 * time.Millisecond
	skewSlew = time.Millisecond
	skewMost = 5 * time.Second
	// Sound is moved by so much at once, or by half a packet where that is less, and in between not at all: a step
	// of a sample tears sound as much as one of ten milliseconds, and a working clock needs one in minutes.
	soundStep = 10 * time.Millisecond
	// Two sender reports are compared only if they are that recent and their clocks agree that well
	// with their arrivals: a publisher whose clock is set between them is believed next time.
	reportAge, reportJitter = 30 * time.Second, time.Second

	// A frame's packets may come after a correction; they get the time of their frame. So many
	// corrections are remembered.
	segmentsKept = 16
)

// Timeline maps the RTP timestamps of one publisher's tracks to absolute media time. It has no clock
// of its own: the arrival of each packet is told to it.
//
// The first packet of a track is anchored at its arrival, and from there on its timestamps count, to
// the tick: a jittery network moves nothing. Three things move the anchor:
//
//   - skew between tracks. Sender reports (RFC 3550, section 6.4.1) tie each track to the publisher's
//     wall clock, so tracks can be put right relative to each other, however wrong that clock is. Audio
//     keeps its place, video follows it;
//   - drift. The publisher's clock runs a little faster or slower than ours; the least delay in each ten
//     seconds shows it, and all tracks are slewed alike, slowly;
//   - a leap of the timestamps. The track is anchored anew at arrival, and jumped tells the caller to
//     begin a new epoch.
//
// Pictures follow such a correction frame by frame, by less than anybody sees. Sound cannot: its packets are played
// back to back, and a player takes each that begins a sample early or late for a fault, and makes up sound. So a track
// of sound stays on its samples until it is soundStep off, and is then put right by that at once.
//
// Between corrections the steps of media time equal the steps of the timestamps. What was handed out
// as newest is never followed by something older, beyond the order in which the publisher sends frames.
//
// A publisher that sends faster than real time (a file, unpaced) gets ahead of our clock, by ten seconds at
// most. From there on media time goes on with the clock, whatever the timestamps say.
//
// Methods of a Timeline and of its Clocks are safe for concurrent use.
type Timeline struct {
	mu     sync.Mutex // guards all below, and the clocks
	clocks []*Clock
	floor  media.Time // nothing is anchored before this

	shift time.Duration // added to all tracks so far to follow drift
	owed  time.Duration // still to be added
	lead  *Clock        // the clock whose delays show the drift
}

// NewTimeline makes a timeline for one session of a publisher.
func NewTimeline() *Timeline { return &Timeline{} }

// believable is how far ahead of the clock a publisher is followed by the next.
const believable = time.Minute

// Resume makes the timeline of a publisher that takes over s at now: it goes on after the newest media time that was
// published there before. A publisher that ran far ahead of the clock is not followed: time goes back once, with the
// new epoch.
func Resume(s *relay.Stream, now time.Time) *Timeline {
	t := NewTimeline()
	for _, track := range s.Published() {
		if track.Log == nil {
			continue
		}
		if at := track.Log.NewestTime(); at <= media.TimeOf(now.Add(believable)) {
			t.NotBefore(at)
		}
	}
	return t
}

// NotBefore makes all tracks begin after at: the newest media time that an earlier publisher wrote
// under the same name. Call it before the first packet.
func (t *Timeline) NotBefore(at media.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.floor = max(t.floor, at)
}

// Clock adds a track whose RTP clock runs at rate Hz. Tracks at 90 kHz are video.
func (t *Timeline) Clock(rate int) *Clock {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := &Clock{timeline: t, rate: rate}
	t.clocks = append(t.clocks, c)
	return c
}

// Clock maps the timestamps of one track.
type Clock struct {
	timeline *Timeline
	rate     int

	// Guarded by timeline.mu.
	ext      int64 // timestamp of the newest packet or report, unwrapped
	unwraps  bool  // ext is valid
	anchored bool
	newest   int64 // highest unwrapped timestamp
	arrived  time.Time
	spacing  int64 // least step between frames lately, in ticks

	anchor int64         // media ticks at unwrapped timestamp zero, before corrections
	skew   time.Duration // to be added to this track alone
	astray time.Duration // still to be added to skew
	moved  time.Duration // added so far: the timeline's shift and skew, or for sound what that was at its last step

	delays   delays
	segments []segment // corrections, oldest first; the last is current
	before   life      // what was before the last leap

	report report
}

// segment maps unwrapped timestamps from a point on: ticks = timestamp + offset.
type segment struct{ from, offset int64 }

// life is a stretch of timestamps that ended with a leap.
type life struct {
	newest, offset int64
	ended          time.Time
}

// report is the last sender report.
type report struct {
	valid   bool
	ntp     time.Duration // since an epoch that only this session knows
	ext     int64
	arrived time.Time
}

// Ticks is the media time of a packet, in ticks of the track's clock since the Unix epoch. Packets of
// one frame, which have the same timestamp, get the same ticks. jumped tells that the timestamps
// leapt: the frames before do not lead up to this one.
func (c *Clock) Ticks(rtp uint32, arrived time.Time) (ticks int64, jumped bool) {
	t := c.timeline
	t.mu.Lock()
	defer t.mu.Unlock()

	step := c.unwrap(rtp)
	if !c.anchored {
		c.place(c.ext+step, arrived)
		return c.settle(arrived), false
	}
	ext := c.ext + step
	if c.leapt(ext, arrived) {
		if c.straggles(ext, arrived) {
			return ext + c.before.offset, false
		}
		c.leap(ext, arrived)
		return c.settle(arrived), true
	}
	c.noteSpacing(step)
	c.ext = ext
	if ext > c.newest {
		c.advance(ext, arrived)
		c.arrived = arrived
	}
	// A frame sent before its place, when time was being held, is not shown after those that it belongs before.
	ticks = min(ext+c.offsetAt(ext), c.newest+c.segments[len(c.segments)-1].offset)
	t.measure(c, ticks, arrived)
	return ticks, false
}

// unwrap is the step from the newest timestamp to rtp, by the shorter way around.
func (c *Clock) unwrap(rtp uint32) int64 {
	if !c.unwraps {
		c.ext, c.unwraps = int64(rtp), true
	}
	return int64(int32(rtp - uint32(c.ext)))
}

// leapt tells whether the publisher's timestamps make no sense as a continuation.
func (c *Clock) leapt(ext int64, arrived time.Time) bool {
	step := media.DurationOf(ext-c.newest, c.rate)
	return step < -leapBack || step > max(0, arrived.Sub(c.arrived))+leapAhead
}

// straggles tells whether a packet was sent before the last leap and only came after it.
func (c *Clock) straggles(ext int64, arrived time.Time) bool {
	b := &c.before
	return !b.ended.IsZero() && arrived.Sub(b.ended) < leapBack &&
		ext <= b.newest && media.DurationOf(b.newest-ext, c.rate) < leapBack
}

// leap anchors the track anew.
func (c *Clock) leap(ext int64, arrived time.Time) {
	current := c.segments[len(c.segments)-1]
	c.before = life{newest: c.newest, offset: current.offset, ended: arrived}
	floor := c.newest + current.offset + 1
	c.report.valid = false
	c.anchorAt(ext, max(media.TicksOf(media.TimeOf(arrived), c.rate), floor))
}

// place anchors the first packet: beside a track that is there already if sender reports tell how
// they lie to each other, else at its arrival.
func (c *Clock) place(ext int64, arrived time.Time) {
	t := c.timeline
	c.anchorAt(ext, max(media.TicksOf(media.TimeOf(arrived), c.rate), media.TicksOf(t.floor, c.rate)+1))
	for _, other := range t.clocks {
		if other == c || !other.anchored {
			continue
		}
		d, ok := other.aheadOf(c)
		at := media.TimeAt(ext+c.offsetAt(ext), c.rate).Add(d)
		if ok && at > t.floor {
			c.anchorAt(ext, media.TicksOf(at, c.rate))
			return
		}
	}
}

func (c *Clock) anchorAt(ext, ticks int64) {
	c.ext, c.newest, c.anchored = ext, ext, true
	c.skew, c.astray, c.spacing, c.delays = 0, 0, 0, delays{}
	c.moved = c.timeline.shift
	c.anchor = ticks - ext - c.inTicks(c.moved)
	c.segments = append(c.segments[:0], segment{from: ext - int64(c.rate), offset: ticks - ext})
}

func (c *Clock) inTicks(d time.Duration) int64 { return media.TicksOf(media.Time(d), c.rate) }

// unmoved is the part of the corrections that a track of sound has not followed yet.
func (c *Clock) unmoved() time.Duration { return c.timeline.shift + c.skew - c.moved }

// settle ends the first packet after anchoring.
func (c *Clock) settle(arrived time.Time) int64 {
	c.arrived = arrived
	ticks := c.ext + c.offsetAt(c.ext)
	c.timeline.measure(c, ticks, arrived)
	return ticks
}

// noteSpacing keeps the least distance of two frames, which bounds how much a frame may be moved back
// without passing its neighbour.
func (c *Clock) noteSpacing(step int64) {
	if step < 0 {
		step = -step
	}
	switch {
	case step == 0:
	case c.spacing == 0 || step < c.spacing:
		c.spacing = step
	default:
		c.spacing += (step - c.spacing) / 64 // a frame rate that fell is believed by and by
	}
}

// advance applies corrections at a new newest frame.
func (c *Clock) advance(ext int64, arrived time.Time) {
	t := c.timeline
	if c == t.lead {
		t.slew(media.DurationOf(ext-c.newest, c.rate))
	}
	c.align()
	c.follow()
	c.hold(ext, arrived)
	c.newest = ext
	offset := c.anchor + c.inTicks(c.moved)
	last := &c.segments[len(c.segments)-1]
	if offset == last.offset {
		return
	}
	if len(c.segments) == segmentsKept {
		copy(c.segments, c.segments[1:])
		c.segments = c.segments[:segmentsKept-1]
	}
	c.segments = append(c.segments, segment{from: ext, offset: offset})
}

// align takes one frame's part of the skew away. A large one goes in one step where that moves the
// frame ahead, and otherwise as fast as lets frames stay in order.
func (c *Clock) align() {
	spacing := media.DurationOf(c.spacing, c.rate)
	d := c.astray
	switch {
	case d > skewStep:
	case d < -skewStep:
		d = -spacing / 2
	default:
		most := min(skewSlew, spacing/4)
		d = min(max(d, -most), most)
	}
	c.skew += d
	c.astray -= d
}

// follow moves the track to where the corrections want it. Never is sound moved back by more than half a packet, so
// that no two packets have the same time.
func (c *Clock) follow() {
	d := c.unmoved()
	if c.audio() && d <= skewStep {
		step := min(soundStep, media.DurationOf(c.spacing, c.rate)/2)
		if d.Abs() < step {
			return
		}
		d = min(max(d, -step), step)
	}
	c.moved += d
}

// hold keeps a track that is far ahead of the clock from getting further ahead. It lets time go on as it passes, so
// that a track that is ahead for another reason (what was published before it was, our clock was set back) goes on as usual.
func (c *Clock) hold(ext int64, arrived time.Time) {
	before := c.newest + c.segments[len(c.segments)-1].offset
	most := max(before+1, before+c.inTicks(arrived.Sub(c.arrived)),
		media.TicksOf(media.TimeOf(arrived).Add(aheadMost), c.rate))
	c.anchor -= max(0, ext+c.anchor+c.inTicks(c.moved)-most)
}

// offsetAt is the offset that was current when the frame at ext was the newest.
func (c *Clock) offsetAt(ext int64) int64 {
	for i := len(c.segments) - 1; i > 0; i-- {
		if ext >= c.segments[i].from {
			return c.segments[i].offset
		}
	}
	return c.segments[0].offset
}

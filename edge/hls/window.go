package hls

import (
	"slices"
	"time"

	"banyan/relay/media"
)

// part is one partial segment as it is listed and served. It does not change once made.
type part struct {
	data        []byte // moof and mdat; nil for a gap
	length      time.Duration
	independent bool // a decoder can begin with a frame of it
	gap         bool
}

// segment is one segment of a rendition. It is owned by its window until it is closed; from then on it
// does not change, and neither does the prefix of parts of one that is open.
type segment struct {
	msn    int64
	init   initID     // what a decoder needs first; zero for a gap
	date   media.Time // of its first frame; of the grid for a gap
	parts  []part
	length time.Duration // once closed
	span   time.Duration // of media time, to the end of its newest part
	data   []byte        // all parts in a row, once closed; nil where there are none
	gap    bool          // it is not there as a whole: nothing of it exists, or it broke off
	plan   plan          // of its newest part
	target time.Duration // the longest that its parts may be
}

// windowConfig bounds a window.
type windowConfig struct {
	listed   int // closed segments in the playlist
	least    int // of them where maxBytes leaves no room for more; at least 1
	retained int // closed segments that can be had, the listed ones included
	maxBytes int // of media; the oldest go first
}

// window holds the segments of a rendition: a contiguous run of numbers, the newest of them possibly
// open. Where media time was silent it has gaps, so that arithmetic on numbers and on time always agree.
// It is not safe for concurrent use.
type window struct {
	config   windowConfig
	grid     grid
	segments []*segment  // ascending, without holes in their numbers
	open     *segment    // the last of segments while it can grow, else nil
	inits    []initEntry // in the order in which they came
	bytes    int
	target   time.Duration // of the newest part
	listed   int           // closed segments that the playlist may have now
	passed   int64         // segments up to this one are listed no more
}

func newWindow(g grid, c windowConfig) *window {
	return &window{config: c, grid: g, listed: c.listed, passed: noSegment}
}

// initEntry is what a decoder needs before the segments that name it.
type initEntry struct {
	id   initID
	data []byte
}

// newest is the number of the last segment, whether open or closed; noSegment where there is none.
func (w *window) newest() int64 {
	if len(w.segments) == 0 {
		return noSegment
	}
	return w.segments[len(w.segments)-1].msn
}

// find returns a retained segment.
func (w *window) find(msn int64) *segment {
	if len(w.segments) == 0 {
		return nil
	}
	first := w.segments[0].msn
	if msn < first || msn > w.newest() {
		return nil
	}
	return w.segments[msn-first]
}

// add puts a part in its place, closes what lies before it and fills with gaps what is missing
// between. A part for a place that has been passed is refused.
func (w *window) add(c *cut, data []byte) bool {
	p := c.plan
	if w.open == nil && c.msn <= w.newest() || w.open != nil && (c.msn < w.open.msn || c.msn == w.open.msn && c.index < len(w.open.parts)) {
		return false
	}
	if w.open == nil || c.msn > w.open.msn {
		if begin := media.TimeAt(c.begin, p.rate); w.open != nil && begin.Sub(w.open.date)-w.open.span < silence {
			w.open.span = begin.Sub(w.open.date) // a frame may have been lost at its end, or the last have stood for less or more
		}
		w.close()
		w.advance(c, p)
	}
	s := w.open
	for len(s.parts) < c.index {
		s.parts = append(s.parts, part{length: p.length, gap: true})
	}
	if s.init.epoch == 0 {
		s.init = c.init
		s.date = media.TimeAt(c.begin, p.rate)
	}
	s.plan = p
	_, until := c.span()
	s.span = until.Sub(s.date)
	s.parts = append(s.parts, part{data: data, length: media.DurationOf(c.ticks(), p.rate), independent: c.independent()})
	w.bytes += len(data)
	w.target, s.target = p.target, max(s.target, p.target)
	if c.last {
		w.close()
	}
	w.shed()
	return true
}

// advance opens the segment of c, with gap segments for those that never were.
func (w *window) advance(c *cut, p plan) {
	newest := w.newest()
	if newest != noSegment && c.msn-newest > int64(w.config.retained) {
		w.reset() // all that is there would leave the window at once
		newest = noSegment
	}
	if newest == noSegment {
		newest = c.msn - 1 - lead
	}
	for k := newest + 1; k < c.msn; k++ {
		w.segments = append(w.segments, w.gap(k, p))
	}
	w.open = &segment{msn: c.msn, date: w.grid.start(c.msn)}
	w.segments = append(w.segments, w.open)
}

// lead is how many gap segments stand before the first one of a rendition. hls.js takes a playlist without any whole segment for an error, and loads parts only at a place that is
// at least a part and the open segment behind the first part that is listed; so gaps have parts, too. GStreamer 1.22
// looks for each segment of a playlist but the first in the next one: where there is one only, it takes the two
// for strangers to each other, begins anew, and so on with the next.
const lead = 2

// gap is a segment of which nothing exists.
func (w *window) gap(k int64, p plan) *segment {
	return &segment{msn: k, date: w.grid.start(k), length: w.grid.segment, gap: true, parts: gaps(w.grid.segment, p), target: p.target}
}

// gaps are the parts that stand for a time in which there is nothing.
func gaps(left time.Duration, p plan) (list []part) {
	for ; left > p.length/4; left -= p.length {
		list = append(list, part{length: min(p.length, left), gap: true})
	}
	return list
}

// complete makes an open segment as long as it is to be, so that the lengths of segments add up to the
// same in all renditions. Where the track broke off the segment is a gap from then on: who has its parts
// already plays them, and nobody waits for the rest. Where only frames at its end were lost, nothing shows
// but its length.
func (w *window) complete(s *segment) {
	s.length = s.span
	missing := w.grid.segment - s.length
	switch {
	case missing < s.plan.frameTime()*3/2: // whole segments need not end on the grid to a frame
		return
	case missing >= silence:
		s.gap = true
		s.parts = append(s.parts, gaps(missing, s.plan)...)
	}
	s.length = w.grid.segment
}

// close ends the open segment, as others follow.
func (w *window) close() {
	if w.open != nil {
		w.complete(w.open)
		w.seal()
	}
}

// end ends the open segment as the last one, which is as long as what there is of it.
func (w *window) end() {
	if w.open != nil {
		w.open.length = w.open.span
		w.seal()
		w.shed()
	}
}

// seal makes the open segment one that does not change any more.
func (w *window) seal() {
	s := w.open
	w.open = nil
	s.length = min(s.length, w.grid.longest()) // of a source whose keyframes are lost, or come late, some would be longer
	size := 0
	for _, part := range s.parts {
		size += len(part.data)
	}
	// One buffer serves the segment and its parts, so that neither is held twice. Playlists that list the
	// parts hold their own slice of them.
	s.data = make([]byte, 0, size)
	parts := make([]part, len(s.parts))
	for i, part := range s.parts {
		from := len(s.data)
		s.data = append(s.data, part.data...)
		parts[i] = part
		if !part.gap {
			parts[i].data = s.data[from:len(s.data):len(s.data)]
		}
	}
	s.parts = parts
}

// shed lets the oldest segments go, and the init sections that only they needed.
func (w *window) shed() {
	closed := len(w.segments)
	if w.open != nil {
		closed--
	}
	full := w.bytes > w.config.maxBytes
	for closed > 1 && (closed > w.config.retained || w.bytes > w.config.maxBytes) {
		w.bytes -= len(w.segments[0].data)
		w.segments = w.segments[1:]
		closed--
	}
	w.pass(closed, full)
	if len(w.inits) > 1 {
		w.shedInits()
	}
}

// pass lets the oldest of the closed segments leave the playlist. They can be had from then on for as long as the playlist is
// and their own length (RFC 8216bis section 6.2.2): where media is so heavy that fewer fit than were wished for, fewer are
// listed, too.
func (w *window) pass(closed int, full bool) {
	switch {
	case full:
		w.listed = max(w.config.least, (closed-1)/2)
	case closed >= w.config.retained:
		w.listed = w.config.listed
	default:
		w.listed = min(w.config.listed, max(w.listed, (closed-2)/2)) // one may have to go before another is whole
	}
	if oldest := closed - w.listed; oldest > 0 {
		w.passed = max(w.passed, w.segments[oldest-1].msn)
	}
}

// shedInits forgets those that came before the one of the oldest segment. One of them may be in use again,
// after another track has had its turn.
func (w *window) shedInits() {
	uses := func(id initID) func(*segment) bool { return func(s *segment) bool { return s.init == id } }
	first := slices.IndexFunc(w.segments, func(s *segment) bool { return s.init.epoch != 0 })
	if first < 0 {
		return
	}
	before := true
	w.inits = slices.DeleteFunc(w.inits, func(i initEntry) bool {
		before = before && i.id != w.segments[first].init
		return before && !slices.ContainsFunc(w.segments, uses(i.id))
	})
}

// init gives an init section; nil where there is none of that name.
func (w *window) init(id initID) []byte {
	for _, i := range w.inits {
		if i.id == id {
			return i.data
		}
	}
	return nil
}

// reset forgets all segments. Those that come may have lower numbers.
func (w *window) reset() {
	w.segments, w.open, w.bytes = nil, nil, 0
	w.listed, w.passed = w.config.listed, noSegment
}

// snapshot is the window as a playlist shows it. Nothing of it changes later.
func (w *window) snapshot() listing {
	closed := w.segments
	l := listing{grid: w.grid}
	if w.open != nil {
		closed = closed[:len(closed)-1]
		open := *w.open
		l.open = &open
	}
	for len(closed) > 0 && closed[0].msn <= w.passed { // what has left a playlist does not come back
		closed = closed[1:]
	}
	l.segments = append([]*segment(nil), withoutLead(closed, leastTargets*l.targetDuration())...)
	l.target = w.targetOf(l.segments)
	return l
}

// targetOf is PART-TARGET of a playlist: no part that it lists may be longer. It follows what is listed, up and down. Strictly
// read the RFC knows no change of it (section 6.2.1), as of EXT-X-TARGETDURATION; but it has to grow where a source's pictures
// come to be slow, or those parts would be over it, and if it never fell again one such moment would keep the players of all
// renditions three of those parts behind for as long as anybody watches. Players read it anew with each playlist, and the
// parts that needed the longer one are not in this any more.
func (w *window) targetOf(closed []*segment) time.Duration {
	if len(closed) == 0 && w.open == nil {
		return w.target
	}
	var target time.Duration
	for _, s := range closed {
		target = max(target, s.target)
	}
	if w.open != nil {
		target = max(target, w.open.target)
	}
	return target
}

// withoutLead leaves out gaps at the beginning, which are of no use, once what follows them lasts least: nothing may leave
// a playlist that would last less than three target durations then (RFC 8216bis section 6.2.2). Until then as many are left
// as stand before the first segment of all, and not as many as make up that time: of GStreamer 1.22 as the first viewer 42
// in 44 began to play with that, 39 in 44 where one gap left as soon as there was a segment, and 2 in 12, in an earlier
// trial, where three closed segments stayed and a gap left with each that came. It shows its first picture two seconds later
// than where one gap left, mostly, as it plays the gaps.
func withoutLead(closed []*segment, least time.Duration) []*segment {
	i := slices.IndexFunc(closed, func(s *segment) bool { return !s.gap })
	if i < 0 {
		return closed
	}
	for _, s := range closed[i:] {
		least -= s.length
	}
	if least > 0 {
		i = max(0, i-lead)
	}
	return closed[i:]
}

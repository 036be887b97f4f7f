package hls

import (
	"math"
	"slices"
	"time"

	"banyan/relay/frame"
	"banyan/relay/media"
)

// cut is one part: frames of one epoch that lie together in one place of the grid. Its frames are presented at their media
// time, and decoded at times of their own (decode.go).
type cut struct {
	init      initID // of the section that a decoder needs for it
	plan      plan
	msn       int64
	index     int  // of the part within its segment
	last      bool // no part of the segment can follow
	frames    []*frame.Frame
	begin     int64   // ticks, the media time at which the segment begins
	until     int64   // ticks, the media time until which the last of frames is shown
	decode    int64   // ticks, the decode time of the first of frames
	durations []int64 // ticks, in decode time, one per frame
}

func (c *cut) params() *media.Params { return c.frames[0].Params }

// span is the media time that the part takes.
func (c *cut) span() (from, until media.Time) {
	return c.frames[0].Time(), media.TimeAt(c.until, c.plan.rate)
}

// independent tells whether a decoder can begin within the part, be it not with its first frame (RFC 8216bis section
// 4.4.4.9): of a source that makes keyframes between those that begin segments, too.
func (c *cut) independent() bool {
	return slices.ContainsFunc(c.frames, func(f *frame.Frame) bool { return f.Keyframe })
}

// ticks is how long the part is, in decode time.
func (c *cut) ticks() (sum int64) {
	for _, d := range c.durations {
		sum += d
	}
	return sum
}

// cutter cuts the frames of a track into parts. It knows no clock: where a part ends follows from the
// frames' media time. On a regular grid the last frame of a part is known when it comes, and the part
// is handed out with it, not with the frame after.
type cutter struct {
	grid   grid
	plan   plan
	format media.Format // of the track whose frames come, which counts its epochs for itself

	params *media.Params // of the newest frame's epoch
	wait   bool          // drop frames until a keyframe: what lies before it cannot be decoded
	after  int64         // drop frames up to this segment

	// The place that is being filled.
	msn    int64      // noSegment before the first frame
	index  int        // of the part in work
	next   int        // lowest part index that is still free in msn
	anchor int64      // ticks at which the segment's first frame is, or would be: frames of video are counted from it
	opened int64      // ticks, the decode time at which the segment begins, with gaps of its first parts if there are any
	passed int64      // ticks of decode time from there to the part in work
	most   int        // highest part index for which the segment has decode time
	over   int64      // newest segment whose last part is handed out
	odd    bool       // pictures of the segment came unevenly
	newest int64      // ticks of the newest frame that was placed
	ended  int64      // where that frame ends if it is as long as is usual
	back   media.Time // when frames came again that were left out after a silence; zero while there is none
	begun  bool       // a part that no frame came for is left out, and not a gap
	shift  int        // parts of it that no frame came for, and that are left out
	frames []*frame.Frame
	init   initID // of the first of frames

	dropped    dropCounts
	probe      []*frame.Frame // video frames held back until their rate is known
	quiet      []byte         // a frame of silence; nil for video, and where none is known
	quietTicks int64          // that it lasts
	sound      int64          // ticks that the newest frame of sound lasts; zero for video
}

// noSegment is below every segment number.
const noSegment = math.MinInt64

// dropReason is why a frame got into no part.
type dropReason uint8

const (
	dropAwaitKeyframe dropReason = iota // a video segment can only begin with a keyframe
	dropOld                             // its place has been published already
	dropNewParams                       // its epoch needs another init section and waits for the next segment
	dropAfterGap                        // it comes in the middle of a segment, after a silence
	dropReasons
)

func (d dropReason) String() string {
	return [...]string{"await-keyframe", "old", "new-parameters", "after-gap"}[d]
}

type dropCounts [dropReasons]uint64

func newCutter(g grid) *cutter {
	return &cutter{grid: g, msn: noSegment, after: noSegment, over: noSegment, wait: true}
}

// push takes the next frame and returns the parts that are complete now: mostly none, or one.
func (c *cutter) push(f *frame.Frame) (done []cut) {
	if c.params == nil || f.Params != c.params {
		if held := c.probe; held != nil { // the epoch ended before its rate was known
			c.probe = nil
			c.dropped[dropAwaitKeyframe] += uint64(len(held))
		}
		done = c.begin(f)
	}
	if c.plan.rate == 0 {
		return append(done, c.measure(f)...)
	}
	if c.plan.kind == media.Audio {
		c.sound = c.plan.lengthOf(f)
	}
	done = append(done, c.conceal(f)...)
	return append(done, c.place(f)...)
}

// conceal puts silence where frames of sound are missing before f, so that players find no hole: they would
// stop at it, or lose the picture's time.
func (c *cutter) conceal(f *frame.Frame) (done []cut) {
	if c.plan.kind != media.Audio || c.quiet == nil {
		return nil
	}
	if c.msn == noSegment {
		return c.lead(f)
	}
	length := c.quietTicks
	if media.DurationOf(f.Ticks-c.ended, c.plan.rate) >= silence {
		return nil
	}
	for at := c.ended; f.Ticks-at > length/2; at += length {
		done = append(done, c.place(&frame.Frame{Ticks: at, Params: c.params, Keyframe: true, Units: [][]byte{c.quiet}})...)
	}
	return done
}

// lead puts silence before f, the first of all, from the beginning of its segment on. A node that has just begun to
// carry a track has its pictures since their keyframe, which begins a segment, and its sound since that moment only; a
// player may ask it for any part of that segment that another node has. Where such parts are gaps hls.js 1.7.4
// asks for the init section again and again.
func (c *cutter) lead(f *frame.Frame) (done []cut) {
	k, length := c.grid.at(f.Time()), c.quietTicks
	if k <= c.after {
		return nil
	}
	late := f.Ticks - media.TicksOf(c.grid.start(k), c.plan.rate)
	for at := f.Ticks - late/length*length; at < f.Ticks; at += length {
		done = append(done, c.place(&frame.Frame{Ticks: at, Params: c.params, Keyframe: true, Units: [][]byte{c.quiet}})...)
	}
	return done
}

// begin moves to the epoch of f. Where a decoder would have to be set up anew, the segment in work ends here,
// as it can have one init section only, and the epoch waits for the next: where the stream's break shows.
func (c *cutter) begin(f *frame.Frame) (done []cut) {
	before, p := c.params, f.Params
	c.params = p
	if before != nil && before.Equal(p) && (p.FPS == 0 || p.FPS == before.FPS) && p.Aligned == before.Aligned && c.plan.rate != 0 {
		return nil
	}
	done = c.flush(0, false)
	if before != nil && !before.Equal(p) {
		c.after = max(c.after, c.msn, c.grid.at(media.BreakAt(f.Time(), c.grid.segment))-1)
		c.wait = true
		c.rescale(before.ClockRate, p.ClockRate)
	}
	switch {
	case p.Codec.Kind() == media.Audio:
		c.plan, c.wait = planFor(p, c.grid, 0), false
		c.quiet, c.quietTicks = frame.Silence(*p)
	case p.FPS > 0:
		c.plan = planFor(p, c.grid, sane(snapRate(p.FPS)))
	default:
		c.plan = plan{}
	}
	return done
}

// rescale tells in ticks of another clock how far the track is.
func (c *cutter) rescale(from, to int) {
	if from == to || c.msn == noSegment {
		return
	}
	c.newest = media.TicksOf(media.TimeAt(c.newest, from), to)
	c.ended = media.TicksOf(media.TimeAt(c.ended, from), to)
}

// measure holds frames back until their rate is known, for a track that does not tell it.
func (c *cutter) measure(f *frame.Frame) (done []cut) {
	const enough = 5
	c.probe = append(c.probe, f)
	if len(c.probe) < enough {
		return nil
	}
	held := c.probe
	c.probe = nil
	stamps := make([]int64, len(held))
	for i, f := range held {
		stamps[i] = f.Ticks
	}
	c.plan = planFor(c.params, c.grid, frameRate(stamps, c.params.ClockRate))
	for _, f := range held {
		done = append(done, c.place(f)...)
	}
	return done
}

// place puts f where its media time says.
func (c *cutter) place(f *frame.Frame) (done []cut) {
	k := c.segmentOf(f)
	switch {
	case k < c.msn, k <= c.over, c.msn != noSegment && f.Ticks <= c.newest:
		c.wait = c.wait || f.Keyframe // what follows is for decoders that have it: another worker may have made both
		c.dropped[dropOld]++
		return nil
	case k <= c.after:
		c.dropped[dropNewParams]++
		return nil
	case c.plan.kind == media.Video && !c.decodable(f, k):
		c.dropped[dropAwaitKeyframe]++
		return nil
	}
	if c.resumes(f, k) {
		c.dropped[dropAfterGap]++
		c.after = k
		return c.flush(0, true)
	}
	if k > c.msn {
		done = c.flush(f.Ticks, true)
		c.enter(f, k)
	}
	if len(c.frames) > 0 && c.indexOf(f) > c.index {
		done = append(done, c.flush(f.Ticks, false)...)
	}
	if len(c.frames) == 0 {
		if c.begun {
			c.shift += max(0, c.indexOf(f)-c.next) // nothing came for those parts: there are none
		}
		if c.index = max(c.indexOf(f), c.next); c.full() {
			c.dropped[dropOld]++
			return done
		}
		c.init = initID{c.format, f.Params.Epoch}
		if !c.begun {
			c.passed = int64(c.index) * c.plan.ticks
		}
	}
	if c.plan.kind == media.Video {
		c.odd = c.odd || math.Abs(c.off(f)) > 0.25 || c.begun && c.frameIndex(f.Ticks) == c.frameIndex(c.newest)
	}
	c.newest, c.ended, c.begun = f.Ticks, f.Ticks+c.plan.lengthOf(f), true
	c.frames = append(c.frames, f)
	if complete, last := c.complete(f); complete {
		done = append(done, c.flush(c.ended, last)...)
	}
	return done
}

// segmentOf is the segment that f belongs to. A video segment begins with the keyframe nearest to the
// grid, so that a source whose keyframes miss it by a frame keeps whole groups of pictures.
func (c *cutter) segmentOf(f *frame.Frame) int64 {
	t := f.Time()
	if c.plan.kind == media.Audio {
		return c.grid.at(t)
	}
	slack := c.plan.frameTime()
	if c.plan.exact {
		return c.grid.at(t.Add(slack / 4))
	}
	if f.Keyframe {
		return max(c.grid.at(t.Add(slack)), c.msn)
	}
	return max(c.grid.at(t.Add(-slack)), c.msn)
}

// resumes tells whether f comes after a silence and not at the beginning of a segment. What is left of that
// segment is left out: hls.js 1.7.4 may wait for ever at a segment that has gaps within. Only the first
// segment of all may begin late, so that a format which has just been started is seen at once.
func (c *cutter) resumes(f *frame.Frame, k int64) bool {
	if c.msn == noSegment || media.DurationOf(f.Ticks-c.newest, c.plan.rate) < silence {
		c.back = 0
		return false
	}
	if late := f.Time().Sub(c.grid.start(k)); k > c.msn && late <= c.plan.frameTime()*3/2 {
		return false
	}
	if c.back == 0 {
		c.back = f.Time()
	}
	// A source whose keyframes came to miss the grid will have none at a segment's beginning.
	return k == c.msn || k == c.grid.at(c.back)
}

// silence is how long a track must lack frames to count as away.
const silence = 500 * time.Millisecond

// decodable tells whether f leads on from what is there: a segment begins with a keyframe, and nothing
// that follows a loss can be shown before the next one.
func (c *cutter) decodable(f *frame.Frame, k int64) bool {
	if f.Keyframe {
		c.wait = false
	} else if f.Discontinuity || k > c.msn {
		c.wait = true
	}
	return !c.wait
}

// enter begins segment k with f.
func (c *cutter) enter(f *frame.Frame, k int64) {
	c.begun = c.msn != noSegment // only the first of all may begin late, with gaps before
	c.msn, c.next, c.anchor, c.shift, c.odd = k, 0, f.Ticks, 0, false
	if samples := c.sound; c.params.Codec == media.Opus && samples != int64(c.plan.frame) {
		c.plan = planAudio(c.params, c.grid, int(samples)) // as its packets are here, which the parameters do not tell
	}
	off := float64(f.Ticks-media.TicksOf(c.grid.start(k), c.plan.rate)) / c.plan.frame
	if !c.begun && math.Abs(off) > 1.5 { // else the source stands a little off the grid
		c.anchor -= int64(math.Round(math.Round(off) * c.plan.frame)) // to where the first frame would stand
	}
	c.open()
}

// indexOf is the part of the segment in work that f belongs to, counting those that there are: a part that
// no frame came for would have to be listed as a gap beside media, at which hls.js 1.7.4 may wait for ever.
func (c *cutter) indexOf(f *frame.Frame) int {
	if c.plan.kind == media.Audio {
		return int(f.Time().Sub(c.grid.start(c.msn))/c.plan.length) - c.shift
	}
	return max(0, min(c.frameIndex(f.Ticks)/c.plan.perPart, c.most)-c.shift)
}

// full tells whether the segment in work has no place left for pictures, where the plan of them has changed on the way.
func (c *cutter) full() bool {
	if c.plan.kind == media.Audio {
		return false
	}
	spent := !c.plan.exact && c.opened+c.passed >= c.opening(c.msn+1)
	return spent || c.index+c.shift > c.most
}

// frameIndex counts frames of the nominal rate from the beginning of the segment in work.
func (c *cutter) frameIndex(ticks int64) int {
	return int(math.Round(float64(ticks-c.anchor) / c.plan.frame))
}

// complete tells whether f is the last frame of its part, and whether of its segment too.
func (c *cutter) complete(f *frame.Frame) (complete, last bool) {
	start, rate := c.grid.start(c.msn), c.plan.rate
	end := media.TicksOf(start.Add(c.grid.segment), rate)
	if c.plan.kind == media.Audio {
		next := c.ended
		border := media.TicksOf(start.Add(time.Duration(c.index+c.shift+1)*c.plan.length), rate)
		return next >= min(border, end), next >= end
	}
	last = c.plan.exact && float64(f.Ticks)+1.25*c.plan.frame >= float64(end)
	i, part := c.frameIndex(f.Ticks), c.index+c.shift
	whole := i/c.plan.perPart == part && (i+1)%c.plan.perPart == 0
	if c.off(f) < -0.25 || c.odd && part == c.most {
		whole = false // more may belong to it
	}
	return last || whole, last
}

// off is by how many frames f is late, or early where that is negative, for its place in the segment in work.
func (c *cutter) off(f *frame.Frame) float64 {
	return float64(f.Ticks-c.anchor)/c.plan.frame - float64(c.frameIndex(f.Ticks))
}

// due is the media time from which on the next frame may complete a part; zero where any may. Until then frames may
// as well stay in the log. It is known of tracks on the grid only, and does not foresee that frames fail to come.
func (c *cutter) due() media.Time {
	if c.plan.rate == 0 || c.msn == noSegment || c.wait || c.plan.kind == media.Video && !c.plan.exact {
		return 0
	}
	index := c.next + c.shift
	if len(c.frames) > 0 {
		index = c.index + c.shift
	}
	start, rate := c.grid.start(c.msn), c.plan.rate
	border, slack := float64(c.anchor)+float64(index+1)*float64(c.plan.perPart)*c.plan.frame, 1.5 // as frameIndex rounds
	if c.plan.kind == media.Audio {
		border, slack = float64(media.TicksOf(start.Add(time.Duration(index+1)*c.plan.length), rate)), 1
	}
	end := float64(media.TicksOf(start.Add(c.grid.segment), rate))
	return media.TimeAt(int64(min(border, end)-slack*c.plan.frame), rate)
}

// frameRate is the rate of frames with these stamps (ticks of a clock of rate Hz): that of the median
// step, so that a lost frame does not disturb it. 30 where there is nothing to measure.
func frameRate(stamps []int64, rate int) float64 {
	step := medianStep(stamps)
	if step <= 0 {
		return 30
	}
	return sane(snapRate(float64(rate) / float64(step)))
}

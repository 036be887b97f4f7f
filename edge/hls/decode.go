package hls

import (
	"math"

	"banyan/relay/media"
)

// Frames are presented at their media time and decoded at another, which differs where pictures do not come evenly: cameras
// have them early and late, and networks lose some. Media time alone would make parts longer than PART-TARGET, by what their
// last frame stands for, and holes between parts where the first frames of one did not come: browsers take more than twice a
// frame's length without another for a break, and show nothing before the next keyframe (Media Source Extensions, section
// 3.5.8, step 1.6).
//
// So each part of pictures takes the same stretch of decode time, that of the frames that it should have, whichever came: the
// part is never longer than the target, and begins where the one before it in the segment ends. Where a part was left out the
// rest of its segment is decoded so much earlier than it is presented. A segment begins anew at the time of its own
// first frame, as one does that a node begins with; it is a keyframe, which no break harms. Composition offsets in the trun
// box hold presentation to media time (ISO/IEC 14496-12, section 8.8.8).
//
// Where frames are not on the grid decode time is half a frame ahead of media time, so that no frame that comes early, and is
// still counted where it belongs, is presented before it is decoded: that is allowed, but not all players like it.
//
// Sound is decoded when it is presented: each frame of it can be decoded alone.

// flush hands out the part in work. next is the time at which another frame follows, or should; zero where none does.
func (c *cutter) flush(next int64, last bool) []cut {
	if len(c.frames) == 0 {
		return nil
	}
	followed := next != 0 && media.DurationOf(next-c.newest, c.plan.rate) < silence
	if !followed {
		next = c.ended
	}
	done := cut{init: c.init, plan: c.plan, msn: c.msn, index: c.index, last: last, frames: c.frames, begin: c.anchor, until: next}
	from, ahead := c.slot()
	until := from + c.plan.ticks
	if last || !followed || c.plan.kind == media.Audio {
		until = min(until, next-ahead)
	}
	done.spread(from, until, ahead)
	c.passed += done.ticks()
	c.frames, c.next = nil, c.index+1
	return []cut{done}
}

// slot is the decode time at which the part in work begins, and by how much its frames are decoded ahead of media time where
// they come evenly. All in ticks.
func (c *cutter) slot() (from, ahead int64) {
	if c.plan.kind == media.Audio {
		return c.frames[0].Ticks, 0
	}
	from = c.anchor + c.passed
	if !c.plan.exact {
		from -= int64(math.Ceil(c.plan.frame / 2))
	}
	place := c.anchor + int64(math.Round(float64((c.index+c.shift)*c.plan.perPart)*c.plan.frame))
	return from, place - from
}

// spread gives the frames of a part their decode time between from and until: that which is ahead of their media time, but the
// first has all from the beginning, and none less than half of its share.
func (c *cut) spread(from, until, ahead int64) {
	n := int64(len(c.frames))
	until = max(until, from+n)
	least := max(1, min(int64(c.plan.frame), (until-from)/n)/2)
	c.decode, c.durations = from, make([]int64, n)
	for i, at := int64(0), from; i < n; i++ {
		next := until
		if i+1 < n {
			next = min(max(c.frames[i+1].Ticks-ahead, at+least), until-(n-i-1)*least)
		}
		c.durations[i] = next - at
		at = next
	}
}

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
// part is never longer than the target, and begins where the one before it ends. Composition offsets in the trun box hold
// presentation to media time (ISO/IEC 14496-12, section 8.8.8).
//
// Where frames are on the grid a segment begins at the media time of its first frame, which is where the one before it ends.
// Where they are not, that frame comes early or late by what nobody knows when the part before it is handed out; so each
// segment begins at the same place in decode time, aheadOfGrid before the grid, and ends where the next one begins, however
// early or late their frames are, and whatever the source turns into on its way. If it sends more frames than it should they
// are in the last part, which waits for them where frames have come unevenly. That place follows from the segment's number
// alone, so that nodes agree that have seen more or less of the past. Few frames are presented before they are decoded then,
// and none of a source as regular as the ladder asks for: that is allowed, but not all players like it.
//
// A part that no frame came for is left out, and the others cannot take its time and stay within the target: the rest of its
// segment is decoded so much earlier than it is presented, and a hole of just that part stands before the next segment; and
// where a segment's keyframe is late by parts, they are left out at its beginning. It begins with a keyframe, which no hole
// harms. Decode time never goes back.
//
// Sound is decoded when it is presented: each frame of it can be decoded alone. Packets of Opus may have another length from
// one to the next: a segment is planned for that of its first, and where longer ones come in the midst of it their part is
// longer than was planned, and says so in PART-TARGET.

// aheadOfGrid is by how much pictures that are not on the grid are decoded before it, in frames: a segment's keyframe comes up
// to one frame before the grid, and another frame up to half of one before its place.
const aheadOfGrid = 1.5

// shortestPacket is the least that a packet of Opus lasts, in ticks: RFC 6716, section 2.1.4. What is below it is jitter.
const shortestPacket = 120

// opening is the decode time at which segment k begins, in ticks, of a track whose frames are not on the grid.
func (c *cutter) opening(k int64) int64 {
	return media.TicksOf(c.grid.start(k), c.plan.rate) - int64(math.Ceil(aheadOfGrid*c.plan.frame))
}

// open begins the decode time of the segment that has just been entered.
func (c *cutter) open() {
	c.opened, c.passed, c.most = c.anchor, 0, c.plan.parts-1
	if c.plan.kind == media.Audio || c.plan.exact {
		return
	}
	c.opened = c.opening(c.msn)
	late := c.anchor - c.opened - int64(2*aheadOfGrid*c.plan.frame)
	if left := min(late/c.plan.ticks, int64(c.most)); left > 0 {
		c.opened += left * c.plan.ticks
		c.most -= int(left)
	}
}

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
	if long := c.ended - from; c.frames[0].Params.Codec == media.Opus && long >= c.plan.ticks+shortestPacket {
		until, done.plan.target = c.ended, media.DurationOf(long, c.plan.rate) // packets have become longer within the segment
	}
	uneven := c.plan.kind == media.Video && !c.plan.exact
	if !followed || !uneven && last || c.plan.kind == media.Audio {
		until = min(until, next-ahead)
	}
	if uneven {
		until = min(until, c.opening(c.msn+1))
	}
	if last {
		c.over = c.msn
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
	from = c.opened + c.passed
	place := c.anchor + int64(math.Round(float64((c.index+c.shift)*c.plan.perPart)*c.plan.frame))
	return from, place - from
}

// spread gives the frames of a part their decode time between from and until: that which is ahead of their media time, but the
// first has all from the beginning, and none less than half of its share but one that would else be decoded too late.
func (c *cut) spread(from, until, ahead int64) {
	n := int64(len(c.frames))
	until = max(until, from+n)
	least := max(1, min(int64(c.plan.frame), (until-from)/n)/2)
	if c.plan.kind == media.Audio {
		least = 1
	}
	c.decode, c.durations = from, make([]int64, n)
	for i, at := int64(0), from; i < n; i++ {
		next := until
		if i+1 < n {
			shown := c.frames[i+1].Ticks
			next = max(min(max(shown-ahead, at+least), until-(n-i-1)*least, shown), at+1)
		}
		c.durations[i] = next - at
		at = next
	}
}

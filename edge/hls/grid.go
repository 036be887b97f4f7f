package hls

import (
	"math"
	"time"

	"banyan/relay/frame"
	"banyan/relay/media"
)

// grid numbers segments by media time alone, so that every format, every node and every life of a
// process agrees about segment k without talking.
type grid struct {
	segment time.Duration // length of a segment
	part    time.Duration // wished length of a part
}

// at is the number of the segment that covers t.
func (g grid) at(t media.Time) int64 { return int64(t.Floor(g.segment)) / int64(g.segment) }

// start is the media time at which segment k begins.
func (g grid) start(k int64) media.Time { return media.Time(k * int64(g.segment)) }

// targetDuration is EXT-X-TARGETDURATION in seconds. A segment may be longer than the grid's by one
// frame (audio frames do not end on it), which rounding to whole seconds hides (RFC 8216bis section 4.4.3.1).
func (g grid) targetDuration() int { return int(math.Ceil(g.segment.Seconds())) }

// longest is how long a segment may be listed: rounded, it is no longer than the target duration.
func (g grid) longest() time.Duration {
	return time.Duration(g.targetDuration())*time.Second + time.Second/2 - time.Millisecond
}

// plan says how the frames of one track are cut into parts. It follows from the parameters of the
// track and the grid, never from what has arrived so far.
type plan struct {
	kind   media.Kind
	rate   int     // ticks per second of the track's clock
	frame  float64 // nominal ticks per frame
	parts  int     // parts that a whole segment has
	target time.Duration
	length time.Duration // nominal length of a part; what a missing part is listed with
	ticks  int64         // target, in ticks

	// Video.
	perPart int  // frames per part
	exact   bool // keyframes stand on the grid, to less than half a frame
}

// planFor makes the plan of a track whose frames come at fps (ignored for audio).
func planFor(p *media.Params, g grid, fps float64) plan {
	if p.Codec.Kind() == media.Audio {
		samples := media.AACFrame
		if p.Codec == media.Opus {
			samples = media.OpusFrame
		}
		return planAudio(p, g, samples)
	}
	return planVideo(p.ClockRate, g, fps, p.Aligned)
}

// planVideo makes all parts of a segment equal where it can: the number of frames in a part divides
// the number in a segment. Half the wished length is the least that is worth that.
func planVideo(rate int, g grid, fps float64, exact bool) plan {
	const (
		jitter   = 0.02  // of a frame, by which rounded rates such as 29.97 miss
		rounding = 0.001 // of a tick, by which 30000/1001 misses in floating point
	)
	wish := max(1, int(fps*g.part.Seconds()+jitter))
	perSegment := fps * g.segment.Seconds()
	whole := int(math.Round(perSegment))
	n := wish
	if math.Abs(perSegment-float64(whole)) < jitter {
		for n > 1 && whole%n != 0 {
			n--
		}
		if 2*n < wish {
			n = wish
		}
	}
	ticks := int64(float64(n)*float64(rate)/fps + rounding) // whole ones, so that parts add up
	length := media.DurationOf(ticks, rate)
	return plan{
		kind: media.Video, rate: rate, frame: float64(rate) / fps, perPart: n, exact: exact,
		parts: int(math.Ceil(perSegment/float64(n) - jitter)), target: length, length: length, ticks: ticks,
	}
}

// planAudio cuts at whole multiples of the wished length, for frames that have some number of samples. Frames of AAC do not
// fall on them, so that a part has one frame more or fewer than its neighbour; the longest possible is the target. Packets of
// Opus are of lengths of which a whole number makes about the wished length, so that all parts but the last of a segment
// are equal, wherever the packets begin.
func planAudio(p *media.Params, g grid, samples int) plan {
	frame := time.Duration(int64(samples) * int64(time.Second) / int64(p.ClockRate))
	length := g.part
	if p.Codec == media.Opus {
		length = max(frame, (g.part + frame/2).Truncate(frame))
	} else {
		// Where one frame is more than 15 % of a part, which a part may not be short of its target (RFC 8216bis
		// section 4.4.3.7), parts must be longer. It takes a sample rate below 30 kHz.
		for frame > 0 && length%frame != 0 && length/frame*100 < 85*(length/frame+1) && 2*length <= g.segment {
			length *= 2
		}
	}
	ticks := int64((length+frame-1)/frame) * int64(samples)
	return plan{
		kind: media.Audio, rate: p.ClockRate, frame: float64(samples), length: length,
		parts:  int((g.segment + length - 1) / length),
		target: media.DurationOf(ticks, p.ClockRate), ticks: ticks,
	}
}

// frameTime is the nominal length of a frame.
func (p plan) frameTime() time.Duration { return media.DurationOf(int64(math.Round(p.frame)), p.rate) }

// longestPacket is the most that a packet of Opus may last, in ticks: RFC 6716, section 3.2.5.
const longestPacket = 120 * 48

// lengthOf is how long a frame is, in ticks, if none follows that says it.
func (p plan) lengthOf(f *frame.Frame) int64 {
	if p.kind == media.Audio {
		if own := frame.SoundLength(f, int64(p.frame)); own > 0 && own <= longestPacket { // else it is no packet of the codec
			return own
		}
	}
	return int64(math.Round(p.frame))
}

// rates are the frame rates that cameras and encoders use. A measured rate snaps to the nearest, so
// that nodes which measured over different frames agree.
var rates = [...]float64{5, 7.5, 10, 12, 12.5, 15, 20, 24000.0 / 1001, 24, 25, 30000.0 / 1001, 30, 48, 50, 60000.0 / 1001, 60,
	100, 120000.0 / 1001, 120}

// sane keeps a rate within what the cutting can deal with; what lies outside is a mistake of an encoder.
func sane(fps float64) float64 { return min(max(fps, 1), 240) }

// snapRate is the usual frame rate nearest to fps, or fps itself where none is within 2 %.
func snapRate(fps float64) float64 {
	best, off := fps, 0.02
	for _, r := range rates {
		if d := math.Abs(fps-r) / r; d < off {
			best, off = r, d
		}
	}
	return best
}

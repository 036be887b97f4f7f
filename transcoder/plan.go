package transcoder

import (
	"time"

	"banyan/relay/frame"
	"banyan/relay/media"
)

// Encoders of audio put out their first samples late: a frame with time t holds the sound from t on
// only for a decoder that has heard what came before. delay is by how many samples the encoder's first
// frame is earlier than its first sample; warmFrames is how many frames are encoded and thrown away,
// so that the first one kept follows on real sound.
const (
	opusDelay      = 312 // libopus at 48 kHz, 20 ms, "audio"
	aacDelay       = media.AACFrame
	opusWarmFrames = 4 // 80 ms, RFC 7845, section 4.6
	aacWarmFrames  = 2

	// warmUp is how much of the source is read ahead of a start for that.
	warmUp = 150 * time.Millisecond

	// padFrom is how close before the start, in samples, audio may begin and yet be padded: decoders
	// keep the first frame or so to themselves.
	padFrom = audioRate / 20
)

// plan decides on a run that begins with the frame first and continues after what was written.
func (j *job) plan(first *frame.Frame) plan {
	source := sourceOf(*first.Params, j.source)
	p := plan{In: *first.Params, Encoder: j.t.encoders[j.target.Codec], Segment: j.t.config.Segment}
	start := max(j.start, 0)
	if next, ok := j.next(); ok {
		start = next
	}
	// A segment before the first frame, so that no time is negative where an encoder begins early.
	p.Base = int64(first.Time().Floor(p.Segment).Add(-p.Segment)) / int64(time.Second)
	if j.target.Kind == media.Video {
		p.Out = videoParams(j.target, source)
		p.From = firstFrame(start, first.Time(), p.Base, int64(p.Out.FPS))
		return p
	}
	p.Out = audioParams(j.target, source)
	if j.writer != nil && j.of.Equal(&p.In) && j.params.Bitrate > p.Out.Bitrate { // what is poorer now may be so for a moment
		p.Out.Channels, p.Out.Bitrate = j.params.Channels, j.params.Bitrate
	}
	p.From, j.floor = firstSample(j.target.Codec, max(start, first.Time()), p.Base)
	begins := media.TicksOf(first.Time(), audioRate) - p.Base*audioRate
	p.Pad = begins > p.From-padFrom && !isG711(p.In.Codec) // which has silence from the base on
	return p
}

// firstFrame is the frame of the grid to begin with, counted from base: the first at or after start,
// or where the source's first frame comes to lie, if that is later.
func firstFrame(start, first media.Time, base, fps int64) int64 {
	step := media.VideoClockRate / fps
	since := func(t media.Time) int64 { return media.TicksOf(t, media.VideoClockRate) - base*media.VideoClockRate }
	return max(0, (since(start)+step-1)/step, (since(first)+step/2)/step)
}

// firstSample places audio on a grid of its own: frames begin at whole multiples of their length since
// the Unix epoch, so that they are the same after any restart and on any node. It returns the sample
// since base to begin with and the time in ticks of the first frame to keep.
func firstSample(codec media.Codec, start media.Time, base int64) (from, floor int64) {
	length, delay, warm := audioFrame(codec)
	ticks := media.TicksOf(start, audioRate)
	floor = (ticks + length - 1) / length * length
	return max(0, floor+delay-warm*length-base*audioRate), floor
}

func audioFrame(codec media.Codec) (length, delay, warmFrames int64) {
	if codec == media.Opus {
		return media.OpusFrame, opusDelay, opusWarmFrames
	}
	return media.AACFrame, aacDelay, aacWarmFrames
}

// onGrid is the time of an audio frame moved to the nearest place of the grid: the transport stream
// counts in other units.
func onGrid(codec media.Codec, ticks int64) int64 {
	length, _, _ := audioFrame(codec)
	return (ticks + length/2) / length * length
}

func isG711(c media.Codec) bool { return c == media.PCMU || c == media.PCMA }

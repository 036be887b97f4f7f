package media

import (
	"bytes"
	"slices"
	"time"
)

// TrackID names a track: one stream in one format of one kind. It is comparable.
type TrackID struct {
	Stream Name
	Format Format
	Kind   Kind
}

func (id TrackID) String() string {
	return string(id.Stream) + ":" + string(id.Format) + ":" + id.Kind.String()
}

// Params say how to decode one epoch of a track. They do not change once published: a track whose
// parameters change begins a new epoch with new Params.
type Params struct {
	// Epoch counts the parameter changes and time jumps of a track. It is the same on every node and
	// only grows, also when the track's birthplace restarts. The log sets it.
	Epoch uint32

	Codec     Codec
	ClockRate int // ticks per second of the RTP clock; 90000 for video

	// Video. Zero where not known (yet).
	Width, Height int     // pixels, as displayed
	FPS           float64 // frames per second, nominal
	Reordered     bool    // frames are sent in an order other than that of display (B-frames)

	// Audio.
	Channels   int // 1 to 8
	SampleRate int // Hz; differs from ClockRate where the payload format fixes the clock

	// Sets are the out-of-band parameters of the codec: all SPS and PPS for H.264, all VPS, SPS and PPS
	// for H.265 (NAL units without start code), in this order and by their ids, but first of each kind the
	// SPS in use and those that belong to it; package frame tells them apart. One AudioSpecificConfig for AAC
	// (ISO/IEC 14496-3), the sequence header OBU for AV1, else none.
	Sets [][]byte

	// Aligned promises that keyframes fall on whole multiples of the segment duration of media time
	// and frames on a regular grid, as the transcoder makes them.
	Aligned bool

	// Bitrate is the nominal rate in bits per second, zero where unknown.
	Bitrate int

	// Break is the newest break of the stream, in whichever of its tracks, when the epoch began. A hub gives it to
	// the tracks of a publisher, and what is made of those takes it over from them.
	Break Break
}

// Break is a place in a stream where decoders of a publisher's picture or sound have to be set up anew. A stream counts
// its breaks where it is published, and its tracks carry the count: who joins late, on whatever node, knows how
// many there have been.
type Break struct {
	// Number counts the breaks of the stream. It only grows, also when its birthplace restarts or another node takes
	// over; zero where it is not known.
	Number uint32
	// At is the media time from which on the break shows: the beginning of a segment. Of several changes that show
	// from one segment on, as where a publisher returns with another picture and another sound, the first makes the
	// break. Zero before the first break of a stream's life.
	At Time
}

// BreakAt is where a break shows whose first frame stands at t: a segment has one init section, so that what is new
// begins with the next one. A keyframe that is meant to stand at a segment's beginning may miss it by a frame or so.
func BreakAt(t Time, segment time.Duration) Time {
	const slack = 50 * time.Millisecond
	return t.Add(segment - slack - 1).Floor(segment)
}

// Equal tells whether a decoder set up for p can go on with q, whatever their epochs.
func (p *Params) Equal(q *Params) bool {
	return p.Codec == q.Codec && p.ClockRate == q.ClockRate && p.Width == q.Width && p.Height == q.Height &&
		p.Channels == q.Channels && p.SampleRate == q.SampleRate && slices.EqualFunc(p.Sets, q.Sets, bytes.Equal)
}

package frame

import "banyan/relay/media"

// MaxPayload is the size in bytes that a Writer cuts RTP payloads to. With RTP header, extensions,
// SRTP tag, UDP and IPv6 headers it stays below 1280 bytes, and a multiple of 128 seals fastest.
const MaxPayload = 1152

// Frame is one access unit of video, or one frame of audio.
type Frame struct {
	Ticks   int64         // presentation time in ticks of the track's clock since the Unix epoch
	Params  *media.Params // the epoch it belongs to; set by a Reader, ignored by a Writer
	Arrived media.Time    // when the last packet of it reached this node; zero if not known

	Keyframe      bool // can be decoded without any frame before it
	Discontinuity bool // first frame of an epoch
	Lost          bool // something between this frame and the one read before it is missing

	// Units are the NAL units without start codes (H.264, H.265), the OBUs without size fields (AV1),
	// or one unit that is the whole frame (VP8, VP9, Opus, AAC, G.711). They must not be changed.
	Units [][]byte
}

// Time is the presentation time in nanoseconds.
func (f *Frame) Time() media.Time { return media.TimeAt(f.Ticks, f.Params.ClockRate) }

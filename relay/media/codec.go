package media

// Kind is what a track carries.
type Kind uint8

// The kinds of track.
const (
	Video Kind = iota + 1
	Audio
)

// Kinds lists all kinds, video first.
var Kinds = [...]Kind{Video, Audio}

func (k Kind) String() string {
	switch k {
	case Video:
		return "video"
	case Audio:
		return "audio"
	}
	return "unknown"
}

// MarshalText writes the kind as in JSON and metric labels: "video" or "audio".
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Codec names an encoding, in lower case as it stands in the API and in metrics.
type Codec string

// The codecs that Banyan carries, each in its standard RTP payload format.
const (
	H264 Codec = "h264" // RFC 6184, packetization-mode 1
	H265 Codec = "h265" // RFC 7798, without DON fields
	VP8  Codec = "vp8"  // RFC 7741
	VP9  Codec = "vp9"  // RFC 9628
	AV1  Codec = "av1"  // AV1 RTP specification 1.0
	Opus Codec = "opus" // RFC 7587
	AAC  Codec = "aac"  // RFC 3640, mode AAC-hbr, sizeLength 13, indexLength 3, indexDeltaLength 3
	PCMU Codec = "pcmu" // G.711 µ-law, RFC 3551
	PCMA Codec = "pcma" // G.711 A-law, RFC 3551
)

// Kind tells whether c is a video or an audio codec; zero for a codec that Banyan does not know.
func (c Codec) Kind() Kind {
	switch c {
	case H264, H265, VP8, VP9, AV1:
		return Video
	case Opus, AAC, PCMU, PCMA:
		return Audio
	}
	return 0
}

// VideoClockRate is the RTP clock rate of every video payload format, in Hz.
const VideoClockRate = 90000

// How many samples a frame of audio has: by definition in AAC-LC (ISO/IEC 14496-3), and in Opus, whose frames may have
// other lengths, where nobody asked for another (20 ms at 48 kHz, RFC 6716 section 2.1.4).
const (
	AACFrame  = 1024
	OpusFrame = 960
)
